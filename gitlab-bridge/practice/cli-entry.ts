import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPractice } from './practice-gitlab.ts';
import { standInSentence } from './practice-identity.ts';

interface PracticeCommandOptions {
  port?: number;
  host?: string;
  /** Folder of its state; without one a temporary folder, removed at the end. */
  data?: string;
  json?: boolean;
  pace?: 'real' | 'fast' | 'none';
}

interface Output {
  /** Data: the address and token. */
  write(text: string): unknown;
}

/**
 * `autogit-node practice-gitlab`: runs until the signal aborts. Prints one line (`--json`: `{url, token}`) or a few on
 * `out`; what happens goes to `log` (stderr of the CLI). Throws AutogitError `port-taken`.
 */
export const practiceCommand = async (
  options: PracticeCommandOptions,
  out: Output,
  signal: AbortSignal,
  log: (line: string) => void = () => {},
): Promise<void> => {
  const passing = options.data === undefined ? mkdtempSync(join(tmpdir(), 'autogit-practice-')) : null;
  try {
    const practice = await startPractice({
      dataDir: options.data ?? (passing as string),
      port: options.port ?? 0,
      host: options.host ?? '127.0.0.1',
      pace: options.pace === 'real' ? 'real' : 'none',
      log,
    });
    const { url, adminToken: token } = practice;
    if (options.json === true) out.write(`${JSON.stringify({ url, token })}\n`);
    else
      out.write(
        `${standInSentence}: a stand-in for trying out and for tests\nurl    ${url}\ntoken  ${token}\n` +
          `data   ${options.data ?? 'a temporary folder, removed at the end (keep it: --data DIR)'}\n`,
      );
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await practice.stop();
  } finally {
    if (passing !== null) rmSync(passing, { recursive: true, force: true });
  }
};
