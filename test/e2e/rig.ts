import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { JobRow } from '../../protocol/job-rows.ts';
import { StatusSnapshot } from '../../protocol/status.ts';

export const bin = fileURLToPath(new URL('../../dist/autogit-node.cjs', import.meta.url));
/** As root the process executor wants its jobs' user written out. */
export const asRoot = process.getuid?.() === 0 ? ['--user', 'root'] : [];
const run = promisify(execFile);
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for something to become true; fails with its name, never with a bare timeout. */
export async function until<T>(
  name: string,
  look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  timeoutMs = 120_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  let last: unknown = null;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
      last = null;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${timeoutMs / 1000} s for: ${name}`, { cause: last });
    await sleep(50);
  }
}

export interface LogLine {
  time: number;
  event?: string;
  [field: string]: unknown;
}

/** One machine of a test: a home, an agent process, optionally a network namespace. */
export class TestMachine {
  readonly name: string;
  readonly home: string;
  readonly namespace: string | null;
  readonly env: Record<string, string>;
  /** The program that runs this machine; another version's in the test of upgrades. */
  bin = bin;
  /** The agent begins a session of its own: to the kernel's scheduler, as alone as a service is. Ctrl-C does not reach it. */
  isAlone = false;
  process: ChildProcess | null = null;
  output = '';

  constructor(name: string, home: string, namespace: string | null, env: Record<string, string> = {}) {
    this.name = name;
    this.home = home;
    this.namespace = namespace;
    this.env = env;
  }

  #command(args: string[]): [string, string[]] {
    const own = [this.bin, '--home', this.home, ...args];
    if (this.namespace === null) return [process.execPath, own];
    return ['nsenter', [`--net=/var/run/netns/${this.namespace}`, process.execPath, ...own]];
  }

  /** Starts `autogit-node join` and returns at once. */
  join(...args: string[]): void {
    const [file, all] = this.#command(['--no-input', 'join', '--name', this.name, ...args]);
    const env = { ...process.env, ...this.env };
    const child = spawn(file, all, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: this.isAlone });
    child.stdout?.on('data', (data) => (this.output += data));
    child.stderr?.on('data', (data) => (this.output += data));
    this.process = child;
  }

  /** Runs a command of the CLI against this machine's agent. */
  async cli(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const [file, all] = this.#command(args);
    try {
      const { stdout, stderr } = await run(file, all, { env: { ...process.env, ...this.env }, maxBuffer: 64 << 20 });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, stdout, stderr };
    }
  }

  async status(): Promise<StatusSnapshot> {
    return StatusSnapshot.parse(JSON.parse((await this.cli('status', '--json')).stdout));
  }

  async jobs(): Promise<JobRow[]> {
    const { stdout } = await this.cli('jobs', '--all', '--json');
    return JobRow.array().parse(JSON.parse(stdout));
  }

  log(): LogLine[] {
    const file = join(this.home, 'agent.log');
    if (!existsSync(file)) return [];
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine);
  }

  events(name: string): LogLine[] {
    return this.log().filter((line) => line.event === name);
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }
}

/** ms of the stand-in's Puma, with room. */
const bootMs = 20_000;

/** A practice GitLab in a process of its own, so that it can be killed and started again on the same data. */
export class TestGitlab {
  readonly data: string;
  readonly namespace: string | null;
  process: ChildProcess | null = null;
  url = '';
  token = '';
  /** How fast it answers: `real` as GitLab does. */
  pace: 'real' | 'fast' = 'fast';
  #port = 0;

  constructor(data: string, namespace: string | null) {
    this.data = data;
    this.namespace = namespace;
  }

  async start(host = '127.0.0.1'): Promise<void> {
    const args = [bin, 'practice-gitlab', '--json', '--host', host, '--port', String(this.#port), '--data', this.data];
    if (this.pace === 'real') args.push('--pace', 'real');
    const [file, all] = this.namespace
      ? ['nsenter', [`--net=/var/run/netns/${this.namespace}`, process.execPath, ...args]]
      : [process.execPath, args];
    const child = spawn(file, all, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.process = child;
    let text = '';
    child.stdout?.on('data', (data) => (text += data));
    const { url, token } = await until('the practice GitLab', () => {
      const line = text.split('\n').find((candidate) => candidate.startsWith('{'));
      return line ? (JSON.parse(line) as { url: string; token: string }) : null;
    });
    this.url = url;
    this.token = token;
    this.#port = Number(new URL(url).port);
  }

  async api<T>(path: string, init: { method?: string; body?: string } = {}): Promise<T> {
    return JSON.parse(await this.#fetch(path, init)) as T;
  }

  async trace(project: number, job: number): Promise<string> {
    return this.#fetch(`/projects/${project}/jobs/${job}/trace`, {});
  }

  /** From inside the GitLab's own namespace, where this process is not. */
  async #fetch(path: string, init: { method?: string; body?: string }): Promise<string> {
    const headers = { 'private-token': this.token, 'content-type': 'application/json' };
    const url = `${this.url}/api/v4${path}`;
    if (this.namespace === null)
      for (const end = Date.now() + bootMs; ; await sleep(200)) {
        const answer = await fetch(url, { ...init, headers });
        const text = await answer.text();
        if (answer.ok) return text;
        // The stand-in's Puma is begun anew for what is set in it, and nginx has a page meanwhile: nobody was asked yet.
        const boots = answer.status === 502 && /boot/.test(text);
        if (!boots || Date.now() >= end) throw new Error(`${path}: ${answer.status} ${text}`);
      }
    const script = `const [u, i] = JSON.parse(process.env.ASKED); const a = await fetch(u, i); process.stdout.write(await a.text()); process.exitCode = a.ok ? 0 : 1;`;
    const args = [`--net=/var/run/netns/${this.namespace}`, process.execPath, '--input-type=module', '-e', script];
    const env = { ...process.env, ASKED: JSON.stringify([url, { ...init, headers }]) };
    return (await run('nsenter', args, { env, maxBuffer: 64 << 20 })).stdout;
  }

  /** Makes a project and pushes these files as its first commit, by real git. Returns the project's id. */
  async push(name: string, files: Record<string, string>): Promise<number> {
    const { id } = await this.api<{ id: number }>('/projects', {
      method: 'POST',
      body: JSON.stringify({ name, path: name }),
    });
    const { http_url_to_repo: remote } = await this.api<{ http_url_to_repo: string }>(`/projects/${id}`);
    const tree = mkdtempSync(join(tmpdir(), 'autogit-push-'));
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(tree, file)), { recursive: true });
      writeFileSync(join(tree, file), text);
    }
    const enter = this.namespace === null ? [] : ['nsenter', `--net=/var/run/netns/${this.namespace}`];
    const auth = `Authorization: Basic ${Buffer.from(`root:${this.token}`).toString('base64')}`;
    const author = ['-c', 'user.name=e2e', '-c', 'user.email=e2e@localhost', '-c', `http.extraHeader=${auth}`];
    const git = async (...args: string[]) => {
      const [file, ...rest] = [...enter, 'git', '-C', tree, ...author, ...args] as [string, ...string[]];
      await run(file, rest);
    };
    await git('init', '-q', '-b', 'main');
    await git('add', '-A');
    await git('commit', '-q', '-m', 'first');
    // Git shows only the status of nginx's page (see #fetch).
    for (const end = Date.now() + bootMs; ; await sleep(200)) {
      const error = await git('push', '-q', remote, 'main').catch((error: Error) => error);
      if (!error) break;
      if (!/returned error: 502/.test(error.message) || Date.now() >= end) throw error;
    }
    rmSync(tree, { recursive: true, force: true });
    return id;
  }

  /** One more pipeline of `main`. */
  async runPipeline(project: number): Promise<{ created_at: string }> {
    return this.api(`/projects/${project}/pipeline?ref=main`, {
      method: 'POST',
      body: JSON.stringify({ ref: 'main' }),
    });
  }

  async kill(): Promise<void> {
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}

/** A folder for one test's machines; everything of it is stopped and removed by `clean`. */
export class Rig {
  readonly dir = mkdtempSync(join(tmpdir(), 'autogit-e2e-'));
  readonly machines: TestMachine[] = [];
  gitlab: TestGitlab | null = null;

  machine(name: string, namespace: string | null = null, env: Record<string, string> = {}): TestMachine {
    const machine = new TestMachine(name, join(this.dir, name), namespace, env);
    this.machines.push(machine);
    return machine;
  }

  practice(namespace: string | null = null): TestGitlab {
    this.gitlab = new TestGitlab(join(this.dir, 'gitlab'), namespace);
    return this.gitlab;
  }

  async clean(): Promise<void> {
    for (const machine of this.machines) await machine.kill('SIGKILL');
    await this.gitlab?.kill();
    for (const { home } of this.machines) await new ProcessExecutor({ home }).sweep(new Set());
    if (!process.env.AUTOGIT_KEEP) rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

export { type JobRow, StatusSnapshot };
