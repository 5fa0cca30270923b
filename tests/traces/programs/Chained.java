public class Chained {
    static class Held implements AutoCloseable {
        public void close() { throw new IllegalStateException("not closed"); }
    }
    static void inner(int depth) {
        if (depth > 0) { inner(depth - 1); return; }
        throw new IllegalArgumentException("too deep");
    }
    public static void main(String[] args) {
        try (Held held = new Held()) {
            inner(3);
        } catch (RuntimeException cause) {
            throw new RuntimeException("outer", cause);
        }
    }
}
