// A PJRT plug-in that misbehaves as FAKE_PLUGIN says: `abort` and `hang` when it is loaded, `short` with a table that ends
// early, `major` with another major version, `grown` with a struct that is larger than ours, `refuse` with an error from
// PJRT_Client_Create, `nameless` with a client that does not say what it is. Built by the tests.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pjrt_c_api.h"

struct PJRT_Error {
  char message[200];
  PJRT_Error_Code code;
};

static PJRT_Api api;
static int errors = 0;

static PJRT_Error* error(PJRT_Error_Code code, const char* message) {
  PJRT_Error* made = malloc(sizeof *made);
  snprintf(made->message, sizeof made->message, "%s", message);
  made->code = code;
  errors++;
  return made;
}

static int mode(const char* name) {
  const char* asked = getenv("FAKE_PLUGIN");
  return asked && strcmp(asked, name) == 0;
}

static void destroy_error(PJRT_Error_Destroy_Args* args) {
  errors--;
  free(args->error);
}

static void error_message(PJRT_Error_Message_Args* args) {
  args->message = args->error->message;
  args->message_size = strlen(args->message);
}

static PJRT_Error* error_code(PJRT_Error_GetCode_Args* args) {
  args->code = args->error->code;
  return NULL;
}

static PJRT_Error* initialize(PJRT_Plugin_Initialize_Args* args) {
  char message[200];
  if (!mode("grown") || args->struct_size >= 40) return NULL;
  snprintf(message, sizeof message, "Unexpected PJRT_Plugin_Initialize_Args size: expected 40, got %zu. Check versions.",
           args->struct_size);
  return error(PJRT_Error_Code_INVALID_ARGUMENT, message);
}

static PJRT_NamedValue attribute;
static const int64_t version[3] = {1, 2, 3};

static PJRT_Error* attributes(PJRT_Plugin_Attributes_Args* args) {
  attribute.struct_size = PJRT_NamedValue_STRUCT_SIZE;
  attribute.name = "stablehlo_current_version";
  attribute.name_size = strlen(attribute.name);
  attribute.type = PJRT_NamedValue_kInt64List;
  attribute.int64_array_value = version;
  attribute.value_size = 3;
  args->attributes = &attribute;
  args->num_attributes = 1;
  return NULL;
}

static int clients = 0;

static PJRT_Error* create_client(PJRT_Client_Create_Args* args) {
  char message[200];
  if (mode("nameless")) {
    args->client = (PJRT_Client*)&clients;
    clients++;
    return NULL;
  }
  snprintf(message, sizeof message, "no chip here; errors not freed: %d", errors);
  return error(PJRT_Error_Code_INTERNAL, message);
}

static PJRT_Error* destroy_client(PJRT_Client_Destroy_Args* args) {
  (void)args;
  clients--;
  return NULL;
}

static PJRT_Error* platform_name(PJRT_Client_PlatformName_Args* args) {
  char message[200];
  (void)args;
  snprintf(message, sizeof message, "no name; clients: %d", clients);
  return error(PJRT_Error_Code_INTERNAL, message);
}

const PJRT_Api* GetPjrtApi(void) {
  if (mode("abort")) abort();
  if (mode("hang")) sleep(1000);
  api.struct_size = mode("short") ? offsetof(PJRT_Api, PJRT_Plugin_Attributes) : sizeof api;
  api.pjrt_api_version.major_version = mode("major") ? 1 : 0;
  api.pjrt_api_version.minor_version = 99;
  api.PJRT_Error_Destroy = destroy_error;
  api.PJRT_Error_Message = error_message;
  api.PJRT_Error_GetCode = error_code;
  api.PJRT_Plugin_Initialize = initialize;
  api.PJRT_Plugin_Attributes = attributes;
  api.PJRT_Client_Create = create_client;
  api.PJRT_Client_Destroy = destroy_client;
  api.PJRT_Client_PlatformName = platform_name;
  return &api;
}
