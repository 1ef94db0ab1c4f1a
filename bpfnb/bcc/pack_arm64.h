/* What arm64 has otherwise than pack_uapi.h and pack_kernel.h. */
#define O_DIRECTORY 040000
#define O_NOFOLLOW 0100000
#define O_DIRECT 0200000
#define O_LARGEFILE 0400000
#define PAGE_SHIFT CONFIG_PAGE_SHIFT
#define VA_BITS CONFIG_ARM64_VA_BITS
#define PAGE_OFFSET (-(1UL << VA_BITS))
