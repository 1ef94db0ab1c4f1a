// expect events: struct event 24
// expect counters events: lost 1
struct event { ktime_ns_t ts; pid_t pid; u32 family; char comm[8]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");
SEC("tp_btf/inet_sock_set_state") int BPF_PROG(state, const struct sock *sk, int old, int new)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e || sk->__sk_common.skc_family != AF_INET)
		return e ? (bpf_ringbuf_discard(e, 0), 0) : 0;
	*e = (struct event){ bpf_ktime_get_ns(), bpf_get_current_pid_tgid() >> 32, AF_INET };
	bpf_ringbuf_submit(e, 0);
	return 0;
}
