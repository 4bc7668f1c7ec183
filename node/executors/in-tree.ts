import { AutogitError } from '../../protocol/errors.ts';
import type { InTree } from '../ports.ts';

/** What is kept of its words, characters. */
export const mostTalk = 64 << 10;

/** What comes of a stream, its end at least: it is read as it comes. */
export function lastOf(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.on('data', (data: Buffer) => {
    text = (text + data.toString()).slice(-mostTalk);
  });
  return () => text;
}

/** The end of a script that empties a tree. Throws `executor-failed`. */
export async function emptied({ input, output, ended }: InTree): Promise<void> {
  input.end();
  output.resume();
  const { code, said } = await ended;
  if (code !== 0) throw new AutogitError('executor-failed', `a tree cannot be emptied: ${said.trim()}`);
}
