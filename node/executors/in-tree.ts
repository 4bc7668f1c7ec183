const mostTalk = 64 << 10;

/** What comes of a stream, its end at least: it is read as it comes. */
export function lastOf(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.on('data', (data: Buffer) => {
    text = (text + data.toString()).slice(-mostTalk);
  });
  return () => text;
}
