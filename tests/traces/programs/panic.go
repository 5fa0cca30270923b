package main

type holder struct{ values map[string]int }

func (h *holder) put(key string) { h.values[key] = 1 }

func main() {
	done := make(chan bool)
	go func() {
		var h holder
		h.put("a")
		done <- true
	}()
	<-done
}
