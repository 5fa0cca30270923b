function inner() {
  throw new TypeError('inner');
}
try {
  inner();
} catch (cause) {
  throw new Error('outer', { cause });
}
