package main

import (
	"net/http"
	"net/http/httptest"
)

func main() {
	handler := func(http.ResponseWriter, *http.Request) { panic("in a handler") }
	server := httptest.NewServer(http.HandlerFunc(handler))
	http.Get(server.URL)
	server.Close()
}
