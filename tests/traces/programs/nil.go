package main

type node struct{ next *node }

func walk(n *node) *node { return walk(n.next) }

func main() { walk(&node{}) }
