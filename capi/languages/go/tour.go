// The tour in Go, by cgo. The last error belongs to a thread of the system: so a goroutine stays in one.
package main

/*
#cgo LDFLAGS: -lfaretra
#include <faretra.h>
#include <stdlib.h>

// Go cannot call what is only a pointer to a function.
static void release_array(struct ArrowArray *array) { array->release(array); }
static void release_schema(struct ArrowSchema *schema) { schema->release(schema); }

// Structures whose memory is the program's, which the library never releases.
static void keep_array(struct ArrowArray *array) { (void)array; }
static void keep_schema(struct ArrowSchema *schema) { (void)schema; }

static faretra_code publish_ids(faretra_writer *writer, const char *name, const int64_t *ids, int64_t rows) {
  const void *none[1] = {NULL}, *buffers[2] = {NULL, ids};
  struct ArrowArray column = {.length = rows, .n_buffers = 2, .buffers = buffers, .release = keep_array};
  struct ArrowArray *columns[1] = {&column};
  struct ArrowArray batch = {.length = rows, .n_buffers = 1, .n_children = 1, .buffers = none, .children = columns, .release = keep_array};
  struct ArrowSchema field = {.format = "l", .name = "id", .release = keep_schema}, *fields[1] = {&field};
  struct ArrowSchema schema = {.format = "+s", .name = "", .n_children = 1, .children = fields, .release = keep_schema};
  return faretra_publish(writer, name, faretra_value_batch(&batch, &schema), NULL);
}

static faretra_options small(void) {
  faretra_options options = FARETRA_OPTIONS;
  options.limit = 64 << 20, options.capacity = 256 << 20, options.ephemeral = 1;
  return options;
}
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"
)

const deadline = 60000

func check(code C.faretra_code) {
	if code != C.FARETRA_OK {
		fmt.Fprintln(os.Stderr, C.GoString(C.faretra_last_error().message))
		os.Exit(1)
	}
}

func codeName(code C.faretra_code) string {
	return C.GoString(C.faretra_code_name(C.int32_t(code)))
}

// The bytes of an object, where they lie: good until the object is freed.
func bytes(object *C.faretra_object) []byte {
	var data unsafe.Pointer
	var length C.size_t
	check(C.faretra_object_bytes(object, &data, &length))
	return unsafe.Slice((*byte)(data), int(length))
}

// Memory of C's, as a value is not to point to Go's.
func copied(text string) (unsafe.Pointer, C.size_t) {
	return C.CBytes([]byte(text)), C.size_t(len(text))
}

func main() {
	runtime.LockOSThread()
	options := C.small()
	var arena *C.faretra_arena
	check(C.faretra_arena_create(C.CString("tour"), &options, &arena))
	fmt.Println("arena tour")

	var writer *C.faretra_writer
	check(C.faretra_writer_new(arena, deadline, &writer))
	data, length := copied("hello")
	check(C.faretra_publish(writer, C.CString("greeting"), C.faretra_value_bytes(data, length), nil))
	C.free(data)
	var object *C.faretra_object
	var info C.faretra_info
	check(C.faretra_get(arena, C.CString("greeting"), &object))
	check(C.faretra_object_info(object, &info))
	fmt.Println("greeting", string(bytes(object)), "version", info.version)
	C.faretra_object_free(object)

	numbers := (*[6]float64)(C.calloc(6, 8))
	shape := (*[2]int64)(C.calloc(2, 8))
	for i := range numbers {
		numbers[i] = float64(i)
	}
	shape[0], shape[1] = 2, 3
	value := C.faretra_value_array(C.CString("<f8"), 2, (*C.int64_t)(&shape[0]), nil, unsafe.Pointer(numbers))
	check(C.faretra_publish(writer, C.CString("array"), value, nil))
	check(C.faretra_get(arena, C.CString("array"), &object))
	var array C.faretra_ndarray
	check(C.faretra_object_array(object, &array))
	var lengths []string
	for _, axis := range unsafe.Slice(array.shape, int(array.rank)) {
		lengths = append(lengths, fmt.Sprint(axis))
	}
	sum := 0.0
	for _, number := range unsafe.Slice((*float64)(array.data), int(array.nbytes/8)) {
		sum += number
	}
	fmt.Println("array", C.GoString(array.dtype), strings.Join(lengths, "x"), "sum", sum)
	C.faretra_object_free(object)

	fmt.Println("nothing", codeName(C.faretra_get(arena, C.CString("nothing"), &object)))

	var sender *C.faretra_sender
	var receiver *C.faretra_receiver
	var lease *C.faretra_lease
	check(C.faretra_sender_new(writer, C.CString("jobs"), 4, 0, &sender))
	check(C.faretra_receiver_new(arena, C.CString("jobs"), 0, 0, &receiver))
	for i := 0; i < 3; i++ {
		data, length := copied(fmt.Sprint("job ", i))
		check(C.faretra_send(sender, C.faretra_value_bytes(data, length), C.FARETRA_FOREVER))
		C.free(data)
	}
	check(C.faretra_recv(receiver, deadline, &lease))
	C.faretra_lease_nack(lease)
	for i := 0; i < 3; i++ {
		check(C.faretra_recv(receiver, deadline, &lease))
		fmt.Println(string(bytes(C.faretra_lease_object(lease))), "again", C.faretra_lease_attempts(lease))
		C.faretra_lease_ack(lease)
	}
	check(C.faretra_sender_close(sender))
	fmt.Println("jobs", codeName(C.faretra_recv(receiver, C.FARETRA_FOREVER, &lease)))
	C.faretra_receiver_free(receiver)
	C.faretra_sender_free(sender)

	ids := (*[1000]int64)(C.calloc(1000, 8))
	for i := range ids {
		ids[i] = int64(i)
	}
	check(C.publish_ids(writer, C.CString("ids"), (*C.int64_t)(&ids[0]), 1000))
	var batch C.struct_ArrowArray
	var schema C.struct_ArrowSchema
	check(C.faretra_get_batch(arena, C.CString("ids"), &batch, &schema))
	column := *batch.children
	values := unsafe.Slice((*int64)(unsafe.Slice(column.buffers, 2)[1]), int(batch.length))
	total := int64(0)
	for _, id := range values {
		total += id
	}
	fmt.Println("ids", batch.length, "rows sum", total)
	C.release_array(&batch)
	C.release_schema(&schema)

	check(C.faretra_arena_verify(arena))
	fmt.Println("sound")
	C.faretra_writer_free(writer)
	C.faretra_arena_free(arena)
}
