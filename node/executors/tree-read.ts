import type { Readable } from 'node:stream';
import { AutogitError } from '../../protocol/errors.ts';
import type { TreeRead } from '../ports.ts';
import type { Child } from '../starter/far-child.ts';

/** Shell text for both executors: a tar of the names on standard input. xargs, since only GNU's tar takes names so. */
export const tarOfNames = [
  'export LC_ALL=C',
  'cd -- "$1" || exit 3',
  // GNU tar would read backslashes in names as escapes, and writes 10 KiB at a time; others do not know the options.
  'if tar --no-unquote -b 128 --version >/dev/null 2>&1; then set -- --no-unquote -b 128; else set --; fi',
  'exec xargs -0 tar -c -f - --no-recursion "$@"',
].join('\n');

/** find: 1 is a path that is missing or closed. xargs: 123 is a tar that met files which it could not read. */
export const usualCodes: ReadonlySet<number> = new Set([0, 1, 2, 3, 123]);

const mostTalk = 2000;

/** What people should hear of it; that a path of a pattern does not exist is said elsewhere. */
export const complaintOf = (talk: string): string =>
  talk
    .split('\n')
    .filter((line) => line !== '' && !/No such file|Exiting with failure status|file changed as we read/.test(line))
    .slice(0, 5)
    .join('\n');

/** A child's output, with `input` on its standard input. An end that is none of the usual ones is an error. */
export function readChild(child: Child, input: Uint8Array, what: string): TreeRead {
  let talk = '';
  child.stderr?.on('data', (data: Buffer) => {
    if (talk.length < mostTalk) talk += data.toString();
  });
  const exit = new Promise<number>((done) => {
    child.once('error', () => done(127));
    child.once('close', (code) => done(code ?? 128));
  });
  // A child that ends early does not take all of it; its end says why.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  // Begun at once, whenever somebody asks: of a child that has ended what nobody has begun to read is thrown away, and no files is an answer.
  const chunks = (child.stdout as Readable)[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  const first = chunks.next();
  first.catch(() => undefined);
  async function* bytes(): AsyncGenerator<Uint8Array> {
    try {
      for (let next = await first; !next.done; next = await chunks.next()) yield next.value;
    } finally {
      await chunks.return?.();
    }
    const code = await exit;
    if (!usualCodes.has(code)) throw new AutogitError('executor-failed', `could not ${what} (${code}): ${talk.trim()}`);
  }
  return {
    bytes: bytes(),
    complaint: async () => {
      await exit;
      return complaintOf(talk);
    },
    close: () => {
      child.kill('SIGKILL');
      child.stdout?.destroy();
    },
  };
}
