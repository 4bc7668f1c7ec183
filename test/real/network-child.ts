import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { until } from './network-party.ts';

export interface Bundle {
  path: string;
  remove(): Promise<void>;
}

/** `network-process.ts` as one file that Node 20 can run. */
export const bundleNetworkProcess = (): Promise<Bundle> =>
  bundleProcess(fileURLToPath(new URL('./network-process.ts', import.meta.url)));

export async function bundleProcess(entry: string): Promise<Bundle> {
  const folder = await mkdtemp(join(tmpdir(), 'autogit-network-'));
  const path = join(folder, 'network-process.mjs');
  await build({
    entryPoints: [entry],
    outfile: path,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    logLevel: 'error',
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module';const require = __createRequire(import.meta.url);",
    },
  });
  return { path, remove: () => rm(folder, { recursive: true, force: true }) };
}

export interface Said {
  event?: string;
  node?: string;
  from?: string;
  at?: number;
  [field: string]: unknown;
}

/** A network in a process of its own. */
export interface Child {
  process: ChildProcess;
  node: string;
  addresses: string[];
  port: number;
  evidencePort: number;
  said: Said[];
  /** Called with everything that it says. */
  onSaid: (said: Said) => void;
  order<T>(what: string, given?: unknown): Promise<T>;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** Starts it and waits until it listens. `inside`: command and arguments to run it by, such as nsenter. */
export async function startChild(bundle: string, options: object, inside: string[] = []): Promise<Child> {
  const [command, ...args] = [...inside, process.execPath, bundle, JSON.stringify(options)];
  const child = spawn(command as string, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = new Map<number, (said: Said) => void>();
  let count = 0;
  const made: Child = {
    process: child,
    node: '',
    addresses: [],
    port: 0,
    evidencePort: 0,
    said: [],
    onSaid: () => {},
    order: <T>(what: string, given?: unknown) =>
      new Promise<T>((resolve, reject) => {
        const id = ++count;
        answers.set(id, (said) =>
          'failed' in said ? reject(new Error(String(said.failed))) : resolve(said.value as T),
        );
        child.stdin?.write(`${JSON.stringify({ id, do: what, with: given })}\n`);
      }),
    kill: (signal) =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once('exit', () => resolve());
        child.kill(signal);
      }),
  };
  child.stdin?.on('error', () => {});
  createInterface({ input: child.stdout }).on('line', (line) => {
    const said = JSON.parse(line) as Said;
    if (typeof said.answer === 'number') {
      answers.get(said.answer)?.(said);
      answers.delete(said.answer);
      return;
    }
    if (process.env.NETWORK_LOG) process.stderr.write(`${made.node.slice(-6)} ${line}\n`);
    if (said.event === 'started') Object.assign(made, { ...said, event: undefined });
    made.said.push(said);
    made.onSaid(said);
  });
  await until(() => made.node !== '' || child.exitCode !== null, 'the network process started', 30_000);
  if (made.node === '') throw new Error('the network process ended at its start');
  return made;
}
