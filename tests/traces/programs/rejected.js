async function work() {
  await null;
  throw new RangeError('rejected');
}
work();
