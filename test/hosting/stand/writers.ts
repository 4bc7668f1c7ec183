import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { descendants, startTicksOf } from '../../../node/executors/run-processes.ts';

const exec = promisify(execFile);
const env = { ...process.env, LC_ALL: 'C' };

/** Debian keeps the server's programs out of the PATH. */
function postgresBin(): string {
  const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
  return join('/usr/lib/postgresql', versions[0] as string, 'bin');
}
const asPostgres = ['--reuid=postgres', '--regid=postgres', '--clear-groups', '--'];

async function untilAnswers(name: string, ask: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await ask().catch(() => false)) return;
    await sleep(50);
  }
  throw new Error(`${name} did not answer within 20 s`);
}

/** Ends a child, and waits for its end. */
export async function ended(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'close');
  child.kill(signal);
  await gone;
}

/** All processes below that one, itself included. */
const family = (pid: number): number[] => descendants([{ pid, startTicks: startTicksOf(pid) }]).map((one) => one.pid);

/** A real server on a folder; what it said is in the error when it does not come up. */
abstract class Server {
  protected process: ChildProcess | null = null;
  #said = '';

  protected begin(file: string, args: string[]): void {
    this.process = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream?.on('data', (data) => {
        this.#said = `${this.#said}${data}`.slice(-3000);
      });
  }

  protected async answers(name: string, ask: () => Promise<boolean>): Promise<void> {
    try {
      await untilAnswers(name, ask);
    } catch (error) {
      await this.stop();
      throw new Error(`${(error as Error).message}: ${this.#said}`, { cause: error });
    }
  }

  /** As a power cut finds it: nothing of it moves. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    if (!this.process?.pid) return;
    for (const pid of family(this.process.pid))
      try {
        process.kill(pid, signal);
      } catch {}
  }

  async stop(signal: NodeJS.Signals = 'SIGQUIT'): Promise<void> {
    if (this.process) await ended(this.process, signal);
    this.process = null;
  }
}

export class Postgres extends Server {
  readonly #data: string;
  readonly #sockets: string;

  constructor(data: string, sockets: string) {
    super();
    this.#data = data;
    this.#sockets = sockets;
  }

  make(): void {
    mkdirSync(this.#data);
    execFileSync('chown', ['postgres:postgres', this.#data]);
    const initdb = [
      join(postgresBin(), 'initdb'),
      '-D',
      this.#data,
      '-A',
      'trust',
      '-U',
      'postgres',
      '--wal-segsize=1',
    ];
    execFileSync('setpriv', [...asPostgres, ...initdb, '-E', 'UTF8', '--locale=C', '--no-sync'], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }

  /** `more`: settings beside ours, the last one counts. */
  async start(more: readonly string[] = []): Promise<void> {
    mkdirSync(this.#sockets, { recursive: true });
    execFileSync('chown', ['postgres:postgres', this.#sockets]);
    // Its number may be anybody's in this pid namespace; on a clone nobody else can be at these files.
    rmSync(join(this.#data, 'postmaster.pid'), { force: true });
    const small = ['shared_buffers=16MB', 'checkpoint_timeout=30s', 'max_wal_size=16MB', 'min_wal_size=2MB'];
    const settings = [
      'listen_addresses=',
      `unix_socket_directories=${this.#sockets}`,
      'max_connections=10',
      ...small,
      ...more,
    ];
    this.begin('setpriv', [
      ...asPostgres,
      join(postgresBin(), 'postgres'),
      '-D',
      this.#data,
      ...settings.flatMap((setting) => ['-c', setting]),
    ]);
    await this.answers('PostgreSQL', async () => (await this.ask('select 1')) === '1');
  }

  get #client(): string[] {
    return ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-h', this.#sockets, '-U', 'postgres', '-d', 'postgres'];
  }

  async ask(sql: string): Promise<string> {
    const { stdout } = await exec('psql', [...this.#client, '-c', sql], { env, maxBuffer: 16 << 20 });
    return stdout.trim();
  }

  /** One connection that stays, as an application has it: each call ends when its statement is committed. */
  session(): { commit(sql: string): Promise<void>; end(): Promise<void> } {
    const child = spawn('psql', this.#client, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.on('error', () => {});
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    return {
      async commit(sql) {
        child.stdin.write(`${sql};\nselect 'done';\n`);
        const { value, done } = await lines.next();
        if (done || value !== 'done') throw new Error(`psql said ${value ?? 'nothing more'}`);
      },
      async end() {
        child.stdin.end();
        await ended(child, 'SIGTERM');
      },
    };
  }
}

export class Redis extends Server {
  readonly #data: string;
  readonly #socket: string;
  #client: Socket | null = null;

  constructor(data: string, socket: string) {
    super();
    this.#data = data;
    this.#socket = socket;
  }

  async start(): Promise<void> {
    mkdirSync(this.#data, { recursive: true });
    rmSync(this.#socket, { force: true });
    const args = ['--port', '0', '--unixsocket', this.#socket, '--dir', this.#data, '--save', ''];
    this.begin('redis-server', [...args, '--appendonly', 'yes', '--appendfsync', 'no']);
    await this.answers('Redis', async () => {
      if (!existsSync(this.#socket)) return false;
      this.#client?.destroy();
      this.#client = connect(this.#socket);
      this.#client.on('error', () => {});
      return (await this.ask('PING')) === '+PONG';
    });
  }

  /** The first line of the answer. One question at a time. */
  async ask(...words: string[]): Promise<string> {
    const client = this.#client;
    if (!client) throw new Error('Redis is not started');
    const gone = new AbortController();
    const closed = once(client, 'close', { signal: gone.signal }).then(() => {
      throw new Error('Redis closed the connection');
    });
    closed.catch(() => {});
    const answer = once(client, 'data', { signal: gone.signal });
    answer.catch(() => {});
    client.write(`${words.join(' ')}\r\n`);
    try {
      const [data] = await Promise.race([answer, closed]);
      return String(data).split('\r\n')[0] as string;
    } finally {
      gone.abort();
    }
  }

  async count(key: string): Promise<number> {
    return Number((await this.ask('INCRBY', key, '0')).replace(/^:/, ''));
  }

  override async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#client?.destroy();
    await super.stop(signal);
  }
}

const identity = ['-c', 'user.name=t', '-c', 'user.email=t@localhost', '-c', 'gc.auto=0'];

/** One who pushes: a clone outside of the data. */
export class Pusher {
  readonly clone: string;
  readonly #repository: string;
  readonly receivePack: string | null;

  constructor(clone: string, repository: string, receivePack: string | null = null) {
    this.clone = clone;
    this.#repository = repository;
    this.receivePack = receivePack;
    if (!existsSync(clone)) execFileSync('git', ['init', '-q', '-b', 'main', clone]);
  }

  static makeRepository(path: string): void {
    execFileSync('git', ['init', '-q', '--bare', path]);
    chmodSync(path, 0o755);
  }

  /** A commit with a file of its own; its id. */
  commit(text: string): string {
    writeFileSync(join(this.clone, `${text}.txt`), `${text}\n`.repeat(200));
    execFileSync('git', ['-C', this.clone, 'add', '.']);
    execFileSync('git', ['-C', this.clone, ...identity, 'commit', '-q', '-m', text]);
    return execFileSync('git', ['-C', this.clone, 'rev-parse', 'HEAD'], { encoding: 'utf8' }).trim();
  }

  /** Ends as `git push` does; the exit status is the acknowledgement, not what git printed before. */
  async push(ref: string): Promise<{ code: number; said: string }> {
    const pack = this.receivePack === null ? [] : [`--receive-pack=${this.receivePack}`];
    const args = ['-C', this.clone, 'push', ...pack, this.#repository, `HEAD:refs/heads/${ref}`];
    const child = spawn('git', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        said += data;
      });
    const [code] = await once(child, 'close');
    return { code: code ?? -1, said };
  }
}

/** Ref to commit. */
export function refsOf(repository: string): Map<string, string> {
  const safe = ['-c', `safe.directory=${repository}`];
  const format = '--format=%(refname:lstrip=2) %(objectname)';
  const text = execFileSync('git', [...safe, '--git-dir', repository, 'for-each-ref', format], { encoding: 'utf8' });
  return new Map(text.split('\n').flatMap((line) => (line === '' ? [] : [line.split(' ') as [string, string]])));
}

/** Throws when an object that a ref leads to is not whole. */
export function checkRepository(repository: string): void {
  const safe = ['-c', `safe.directory=${repository}`];
  execFileSync('git', [...safe, '--git-dir', repository, 'fsck', '--full', '--strict', '--no-dangling'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}
