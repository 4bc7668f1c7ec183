import { AutogitError } from '../../protocol/errors.ts';
import { shown } from '../foreign-text.ts';

/** A disk that has to spin up takes seconds. */
const waitMs = 10_000;

let asked: { path: string; ended: Promise<unknown> } | null = null;

/**
 * One question to the disk or file server of a folder that is a person's. Where that hangs the question never ends, and holds one
 * of libuv's four threads, without which nothing here reads a file: so one is out at a time, whoever asks, and nobody waits for
 * longer. Throws `backup`, which names the path that does not answer; what `question` throws.
 */
export async function askDisk<T>(path: string, question: () => Promise<T>, limitMs = waitMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(hangs(asked?.path ?? path, limitMs)), limitMs);
  });
  late.catch(() => undefined);
  try {
    while (asked !== null) await Promise.race([asked.ended, late]);
    const answer = question();
    const mine = {
      path,
      ended: answer.then(
        () => undefined,
        () => undefined,
      ),
    };
    asked = mine;
    void mine.ended.then(() => {
      asked = null;
    });
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

const hangs = (path: string, limitMs: number): AutogitError =>
  new AutogitError('backup', `${shown(path)} does not answer within ${limitMs / 1000} s`, {
    hint: `its disk or file server hangs: findmnt -T ${shown(path)}`,
  });
