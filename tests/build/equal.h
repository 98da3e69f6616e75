/* Included by `witness.c`: whether bytes are those of a text. */
static bool equal(theater_bytes bytes, const char *text) {
    theater_bytes other = theater_string(text);
    if (bytes.length != other.length) return false;
    for (size_t place = 0; place < bytes.length; place++)
        if (bytes.at[place] != other.at[place]) return false;
    return true;
}
