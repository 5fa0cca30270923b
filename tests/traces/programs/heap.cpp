int main() {
    int *values = new int[2];
    delete[] values;
    return values[1];
}
