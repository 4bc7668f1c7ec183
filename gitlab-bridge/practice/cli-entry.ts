import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPractice } from './practice-gitlab.ts';
import { standInSentence } from './practice-identity.ts';

interface PracticeCommandOptions {
  port?: number;
  host?: string;
  /** As it is reached, where that is another address than the one it listens on: behind a proxy, or port forwarding. */
  url?: string;
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
      ...(options.url === undefined ? {} : { externalUrl: options.url }),
      pace: options.pace === 'real' ? 'real' : 'none',
      log,
    });
    const { url, adminToken: token } = practice;
    if (options.json === true) out.write(`${JSON.stringify({ url, token })}\n`);
    else out.write(greeting(url, token, options.data ?? null));
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await practice.stop();
  } finally {
    if (passing !== null) rmSync(passing, { recursive: true, force: true });
  }
};

/** A new one is empty, and its pages make nothing: whoever tries it out is told the way to a first pipeline. */
const greeting = (url: string, token: string, data: string | null): string => `\
${standInSentence}: a stand-in for trying out and for tests
url    ${url}
token  ${token}
data   ${data ?? 'a temporary folder, removed at the end (keep it: --data DIR)'}
mesh   TOKEN=${token} autogit-node gitlab connect ${url} --token-env TOKEN
jobs   make a project, and push a repository with a .gitlab-ci.yml into it:
       curl -H 'PRIVATE-TOKEN: ${token}' -d name=hello ${url}/api/v4/projects
       git push ${url.replace('://', `://root:${token}@`)}/root/hello.git HEAD:main
`;
