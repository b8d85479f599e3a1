/* The ceiling: how fast a broker confirms persistent messages from a client in C.

   cc -O2 ceiling.c -o ceiling -lrabbitmq
   ./ceiling PORT VHOST EXCHANGE KEY WARM_UP MESSAGES WINDOW BODY_BYTES PROPERTIES

   Publishes WARM_UP messages and then MESSAGES more, at most WINDOW of them not yet
   confirmed, to a broker on this machine (guest/guest). Prints how many of the latter
   were confirmed in a second. The exchange must exist. PROPERTIES is `few` (content type
   and delivery mode, all under KEY) or `all` (those that an event of the bridge has, under
   the keys of AGENTS in turn). */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { AGENTS = 200 };
static const char *const KINDS[] = {"call.started.outbound", "call.recorded", "call.ended"};

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void require(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "ceiling: %s\n", what);
    exit(1);
  }
}

/* Waits for a confirm and returns the highest number up to which all are confirmed. */
static unsigned long next_confirm(amqp_connection_state_t connection, unsigned long known) {
  amqp_frame_t frame;
  for (;;) {
    amqp_maybe_release_buffers(connection);
    require(amqp_simple_wait_frame(connection, &frame) == AMQP_STATUS_OK, "connection lost");
    if (frame.frame_type != AMQP_FRAME_METHOD) continue;
    require(frame.payload.method.id == AMQP_BASIC_ACK_METHOD, "something else than an ack");
    const amqp_basic_ack_t *ack = frame.payload.method.decoded;
    return ack->delivery_tag > known ? ack->delivery_tag : known;
  }
}

int main(int count, char **given) {
  require(count == 10, "PORT VHOST EXCHANGE KEY WARM_UP MESSAGES WINDOW BODY_BYTES PROPERTIES are needed");
  amqp_bytes_t exchange = amqp_cstring_bytes(given[3]), key = amqp_cstring_bytes(given[4]);
  unsigned long warm_up = strtoul(given[5], NULL, 10);
  unsigned long total = warm_up + strtoul(given[6], NULL, 10);
  unsigned long window = strtoul(given[7], NULL, 10);
  amqp_bytes_t body = amqp_bytes_malloc(strtoul(given[8], NULL, 10));
  memset(body.bytes, 'x', body.len);

  amqp_connection_state_t connection = amqp_new_connection();
  require(!amqp_socket_open(amqp_tcp_socket_new(connection), "127.0.0.1", atoi(given[1])), "no broker");
  amqp_rpc_reply_t login = amqp_login(connection, given[2], 0, 131072, 0, AMQP_SASL_METHOD_PLAIN,
                                      "guest", "guest");
  require(login.reply_type == AMQP_RESPONSE_NORMAL, "no login");
  require(amqp_channel_open(connection, 1) && amqp_confirm_select(connection, 1), "no channel");

  amqp_basic_properties_t properties = {0};
  properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG;
  properties.delivery_mode = AMQP_DELIVERY_PERSISTENT;
  properties.content_type = amqp_cstring_bytes("application/cloudevents+json");
  int is_like_ours = !strcmp(given[9], "all");
  if (is_like_ours) {
    properties._flags |= AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG |
                         AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_APP_ID_FLAG;
    properties.message_id = amqp_cstring_bytes("01946b3c-8a52-7000-8000-000000000000");
    properties.timestamp = (uint64_t)time(NULL);
    properties.type = amqp_cstring_bytes("br.tactium.call.started.v1");
    properties.app_id = amqp_cstring_bytes("tactium-bridge");
  }

  char ours[64];
  unsigned long sent = 0, confirmed = 0, first = 0;
  double begin = 0;
  while (confirmed < total) {
    for (; sent < total && sent - confirmed < window; sent++) {
      if (is_like_ours) {
        snprintf(ours, sizeof ours, "agent%06lu.%s", sent / 3 * 7919 % AGENTS, KINDS[sent % 3]);
        key = amqp_cstring_bytes(ours);
      }
      require(!amqp_basic_publish(connection, 1, exchange, key, 0, 0, &properties, body), "no publish");
    }
    confirmed = next_confirm(connection, confirmed);
    if (!first && confirmed >= warm_up) {
      first = confirmed;
      begin = seconds();
    }
  }
  printf("%.0f\n", (double)(total - first) / (seconds() - begin));
  return 0;
}
