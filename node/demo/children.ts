import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { spawnClean } from '../clean-spawn.ts';
import { type AgentClient, createClient } from '../local-api/socket-client.ts';

/** Waits for something that the demo needs; gives up with its name. */
export async function until<T>(
  what: string,
  look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  timeoutMs = 30_000,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  let cause: unknown;
  while (performance.now() < end) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      cause = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new AutogitError('demo-failed', `waited ${timeoutMs / 1000} s for this: ${what}`, { cause });
}

/** What is running, so that every way out of the demo ends it by pid. */
const running = new Set<ChildProcess>();

function start(args: string[], env: Record<string, string>, output: 'ignore' | number): ChildProcess {
  const bin = process.argv[1];
  if (!bin) throw new AutogitError('demo-failed', 'the demo does not know its own program file');
  const child = spawnClean(process.execPath, [bin, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', output],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

export async function stopAll(): Promise<void> {
  const all = [...running];
  await Promise.all(
    all.map((child) => Promise.race([kill(child, 'SIGTERM'), new Promise((r) => setTimeout(r, 4_000))])),
  );
  await Promise.all([...running].map((child) => kill(child, 'SIGKILL')));
}

/** The stand-in GitLab, in a process of its own. */
export async function startPractice(dir: string): Promise<{ url: string; token: string; child: ChildProcess }> {
  const child = start(['practice-gitlab', '--json', '--port', '0', '--data', dir], {}, 'ignore');
  let text = '';
  child.stdout?.on('data', (data) => {
    text += data;
  });
  const line = await until('the practice GitLab starts', () => text.split('\n').find((part) => part.startsWith('{')));
  const { url, token } = JSON.parse(line) as { url: string; token: string };
  return { url, token, child };
}

/** One machine of the demo: a home of its own, and the agent in it. */
export class DemoMachine {
  readonly name: string;
  readonly home: string;
  readonly client: AgentClient;
  readonly #env: Record<string, string>;
  #child: ChildProcess | null = null;

  constructor(dir: string, name: string, env: Record<string, string> = {}) {
    this.name = name;
    this.home = join(dir, name);
    this.client = createClient(this.home);
    this.#env = env;
  }

  /** mDNS does not cross loopback, so the agents of the demo are told one address. */
  join(...args: string[]): void {
    const local = ['--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns', '--executor', 'process', '--yes'];
    if (process.getuid?.() === 0) local.push('--user', 'root');
    const log = openSync(`${this.home}.out`, 'a');
    const command = ['--home', this.home, '--no-input', 'join', '--name', this.name, ...local, ...args];
    this.#child = start(command, this.#env, log);
    this.#child.stdout?.resume();
    closeSync(log);
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    if (this.#child) await kill(this.#child, signal);
  }

  /** `time` (epoch ms) of the first leader-elected after a moment; null while there is none. */
  electedAfter(ms: number): { time: number; leader: string } | null {
    for (const line of readFileSync(join(this.home, 'agent.log'), 'utf8').split('\n')) {
      if (!line.includes('"leader-elected"')) continue;
      const event = JSON.parse(line) as { time: number; leader: string };
      if (event.time >= ms) return event;
    }
    return null;
  }
}
