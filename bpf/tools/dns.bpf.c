/* SPDX-License-Identifier: GPL-2.0-only */
/* DNS: questions with their answers over UDP, and how long those took. */
#include <bpfnb/owners.h>
#include <bpfnb/packet.h>

#define HEADER 12    /* RFC 1035, 4.1.1 */
#define LONGEST 255  /* a name, with its lengths and the root */
#define RESPONSE 0x8000
#define ANSWERS 8    /* records that are searched for an address */
#define TYPE_A 1
#define TYPE_AAAA 28

const volatile u16 port DESCRIPTION("where servers listen") = 53;
const volatile bool servers DESCRIPTION("also as servers here see them") = false;
const volatile bool failed DESCRIPTION("only those that found nothing") = false;

enum dns_role { client = 1, server };

struct dns_lookup {
	ktime_ns_t time DESCRIPTION("when the answer came");
	ns_t latency DESCRIPTION("since it was first asked");
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid;
	u32 uid;
	u32 tries DESCRIPTION("how often it was asked");
	u16 type;
	u16 rcode;
	u16 answers DESCRIPTION("records in the answer");
	u16 id DESCRIPTION("the number that question and answer share");
	u32 size UNIT(bytes) DESCRIPTION("of the answer");
	enum dns_role role DESCRIPTION("of the process");
	ip_t server DESCRIPTION("the server's address; at a server, the client's");
	ip_t address DESCRIPTION("the first address that was found");
	char comm[16];
	char name[256] SENSITIVE;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 21); } events SEC(".maps");

struct dns_key_of_question {
	u64 socket;
	u8 peer[16];
	u16 port, id;
	u32 role;
};
struct dns_question {
	ktime_ns_t asked;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid;
	u32 tries;
	u32 uid;
	u16 type;
	enum dns_role role;
	ip_t server;
	char comm[16];
	char name[256] SENSITIVE;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, struct dns_key_of_question); __type(value, struct dns_question);
} questions SEC(".maps");

struct dns_room { u32 until; u8 name[LONGEST + 1]; struct dns_question question; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct dns_room);
} scratch SEC(".maps");

/* The name at `at` as text, dots for the lengths of its labels; how many bytes it takes in the packet, 0: no name. */
static __always_inline u32 read_name(struct __sk_buff *skb, u32 at, struct dns_room *room)
{
	/* In memory, of whose contents the verifier knows nothing: it would follow every length of every label. */
	volatile u32 *until = &room->until;
	u64 left = skb->len > at ? skb->len - at : 0; /* 64 bits: older kernels keep the bounds of a copy of no others */

	barrier_var(left); /* the verifier is to see the bounds of this very variable */
	if (left > LONGEST)
		left = LONGEST;
	if (left < 5 /* with type and class; of != 0 older kernels learn nothing */ ||
	    bpf_skb_load_bytes_relative(skb, at, room->name, left, BPF_HDR_START_NET))
		return 0;
	*until = 0;
	for (u32 i = 0; i < LONGEST && i < left; i++) {
		u8 byte = room->name[i];

		if (i != *until) {
			room->question.name[(i - 1) & 0xff] = byte;
			continue;
		}
		if (byte > 63)
			return 0; /* a pointer, which questions have none of */
		if (i)
			room->question.name[(i - 1) & 0xff] = byte ? '.' : 0;
		else if (!byte)
			room->question.name[0] = '.';
		*until = i + 1 + byte;
		if (!byte)
			return *until;
	}
	return 0;
}

/* Numbers come again, also that of a question which nobody answered. */
static __always_inline bool same(const struct dns_question *a, const struct dns_question *b)
{
	const u64 *left = (const u64 *)a->name, *right = (const u64 *)b->name;

	for (u32 i = 0; i < sizeof(a->name) / 8; i++)
		if (left[i] != right[i])
			return false;
	return a->type == b->type;
}

/* The first address among the answer's records, whose names are pointers as all servers write them. */
static __always_inline void read_address(struct __sk_buff *skb, u32 at, u16 answers, u8 *address)
{
	for (int i = 0; i < ANSWERS && i < answers; i++) {
		struct { u16 name, type, class, ttl[2], length; } record;

		if (bpf_skb_load_bytes_relative(skb, at, &record, sizeof(record), BPF_HDR_START_NET))
			return;
		if ((bpf_ntohs(record.name) & 0xc000) != 0xc000)
			return;
		at += sizeof(record);
		if (record.type == bpf_htons(TYPE_A) && record.length == bpf_htons(4)) {
			if (!bpf_skb_load_bytes_relative(skb, at, address + 12, 4, BPF_HDR_START_NET))
				address[10] = address[11] = 0xff;
			return;
		}
		if (record.type == bpf_htons(TYPE_AAAA) && record.length == bpf_htons(16)) {
			bpf_skb_load_bytes_relative(skb, at, address, 16, BPF_HDR_START_NET);
			return;
		}
		at += bpf_ntohs(record.length);
	}
}

static __always_inline void look(struct __sk_buff *skb, bool out)
{
	struct { u16 id, flags, questions, answers, authorities, more; } header;
	struct dns_key_of_question key = {};
	struct dns_question *question;
	struct bpfnb_packet packet;
	struct bpfnb_owner *owner;
	struct dns_lookup *e;
	struct dns_room *room;
	u32 zero = 0, taken;
	bool response;
	u16 words[2];

	if (!bpfnb_packet(skb, &packet) || packet.protocol != IPPROTO_UDP)
		return;
	if (packet.sport != port && packet.dport != port)
		return;
	owner = bpfnb_owner(skb);
	if (!bpfnb_wanted_owner(owner))
		return;
	if (bpf_skb_load_bytes_relative(skb, packet.payload_at, &header, sizeof(header), BPF_HDR_START_NET))
		return;
	response = header.flags & bpf_htons(RESPONSE);
	key.role = response == out ? server : client;
	if (key.role == server && !servers)
		return;
	if ((response ? packet.sport : packet.dport) != port || !header.questions)
		return;
	key.socket = bpf_get_socket_cookie(skb);
	key.id = header.id;
	key.port = out ? packet.dport : packet.sport;
	__builtin_memcpy(key.peer, out ? packet.daddr : packet.saddr, 16);
	room = bpf_map_lookup_elem(&scratch, &zero);
	if (!room)
		return;
	question = bpf_map_lookup_elem(&questions, &key);
	if (!response) {
		struct dns_question *q = &room->question;

		__builtin_memset(q, 0, sizeof(*q));
		taken = read_name(skb, packet.payload_at + HEADER, room);
		if (!taken)
			return;
		if (bpf_skb_load_bytes_relative(skb, packet.payload_at + HEADER + taken, words, 4, BPF_HDR_START_NET))
			return;
		q->type = bpf_ntohs(words[0]);
		if (question && same(question, q)) { /* and from the same socket to the same server by one number: again */
			question->tries++;
			return;
		}
		q->asked = bpf_ktime_get_ns();
		q->tries = 1;
		q->role = key.role;
		__builtin_memcpy(q->server, key.peer, 16);
		if (owner) {
			q->pid = owner->pid;
			q->uid = owner->uid;
			q->cgroup_id = owner->cgroup_id;
			__builtin_memcpy(q->comm, owner->comm, sizeof(q->comm));
		}
		bpf_map_update_elem(&questions, &key, q, BPF_ANY);
		return;
	}
	if (!question)
		return; /* asked before we looked */
	if (failed && header.answers && !(header.flags & bpf_htons(0xf)))
		goto done;
	taken = read_name(skb, packet.payload_at + HEADER, room);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		goto done;
	e->time = bpf_ktime_get_ns();
	e->latency = e->time - question->asked;
	e->cgroup_id = question->cgroup_id;
	e->pid = question->pid;
	e->uid = question->uid;
	e->tries = question->tries;
	e->type = question->type;
	e->rcode = bpf_ntohs(header.flags) & 0xf;
	e->answers = bpf_ntohs(header.answers);
	e->id = bpf_ntohs(header.id);
	e->size = packet.payload;
	e->role = question->role;
	__builtin_memcpy(e->server, question->server, 16);
	__builtin_memset(e->address, 0, 16);
	if (taken)
		read_address(skb, packet.payload_at + HEADER + taken + 4, e->answers, e->address);
	__builtin_memcpy(e->comm, question->comm, sizeof(e->comm));
	__builtin_memcpy(e->name, question->name, sizeof(e->name));
	bpf_ringbuf_submit(e, 0);
done:
	bpf_map_delete_elem(&questions, &key);
}

SEC("cgroup_skb/egress") int sent(struct __sk_buff *skb)
{
	look(skb, true);
	return 1;
}

SEC("cgroup_skb/ingress") int received(struct __sk_buff *skb)
{
	look(skb, false);
	return 1;
}
