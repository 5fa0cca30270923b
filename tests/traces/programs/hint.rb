def size_of(value)
  value.lenght
end

size_of("text")
