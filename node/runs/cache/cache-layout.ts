/**
 * A cache as it lies on a disk: one file that says by itself whether it is whole.
 *
 *     magic | u32 length, head (JSON) | blocks | an empty block | tail (JSON), u32 length | SHA-256 of all before it
 *     block: u32 packed length, u32 plain length, u8 method, bytes
 *
 * The plain bytes of all blocks are a tar: names as the bytes that they are, hard links as such, symbolic links last.
 */
export const cacheMagic = Buffer.from('autogit-cache 1\n');
export const blockBytes = 1 << 20;
export const blockHeadBytes = 9;
export const sumBytes = 32;
/** Of its head, and of its tail. */
export const mostJsonBytes = 1 << 17;
/** More room than a block needs: zlib that has filled all of it is asked once more whether that was all. */
export const spareBytes = 64;
export const methods = { stored: 0, deflate: 1, zstd: 2 } as const;
