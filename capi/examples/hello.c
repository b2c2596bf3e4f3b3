/* The smallest program: makes an arena, publishes a few bytes, reads them where they lie. */
#include <faretra.h>
#include <stdio.h>

static int failed(void) {
  fprintf(stderr, "hello: %s\n", faretra_last_error()->message);
  return 1;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "hello-c";
  faretra_options options = FARETRA_OPTIONS;
  faretra_arena *arena;
  faretra_writer *writer;
  faretra_object *object;
  const void *data;
  size_t len;

  options.limit = 64 << 20;
  options.capacity = 256 << 20; /* address space for little: enough here, and not too much for valgrind */
  options.ephemeral = 1;
  if (faretra_arena_create(name, &options, &arena)) return failed();
  if (faretra_writer_new(arena, FARETRA_FOREVER, &writer)) return failed();
  if (faretra_publish(writer, "greeting", faretra_value_bytes("hello", 5), NULL)) return failed();

  /* In this process or any other one. */
  if (faretra_get(arena, "greeting", &object)) return failed();
  if (faretra_object_bytes(object, &data, &len)) return failed();
  printf("%.*s\n", (int)len, (const char *)data);

  faretra_object_free(object);
  faretra_writer_free(writer);
  faretra_arena_free(arena);
  return 0;
}
