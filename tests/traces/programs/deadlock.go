package main

import "sync"

func main() {
	var group sync.WaitGroup
	for range [2]int{} {
		group.Add(1)
		go func() { select {} }()
	}
	group.Wait()
}
