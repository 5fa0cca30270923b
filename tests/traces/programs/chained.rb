def inner
  raise ArgumentError, "inner"
end

def outer
  inner
rescue ArgumentError
  raise "outer"
end

outer
