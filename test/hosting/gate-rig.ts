import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';
import { type Door, gateFolder, gateNow, livingGates, seenBy } from '../../node/hosting/gate/gate-files.ts';
import type { Guard } from '../../node/hosting/gate/gate-guard.ts';
import { watchdogPid } from '../../node/watchdog/watchdog.ts';
import { netOf } from '../root/lan.ts';
import type { AgentSetting, AgentWish } from './gate-agent.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const client = fileURLToPath(new URL('gate-client.ts', import.meta.url));
const bundled: BuildOptions = { absWorkingDir: root, bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' };

/** In a network namespace with an engine in it: an agent in miniature, its gate and its watchdog, from the published bin. */
export class GateRig {
  readonly home = mkdtempSync('/var/tmp/t-hgate-home-');
  readonly guard: Guard;
  readonly doors: Door[];
  readonly #net: string;
  readonly #programs = mkdtempSync('/var/tmp/t-hgate-bin-');
  #wish: AgentWish = {
    epoch: 1,
    leaseMs: 4000,
    upstream: null,
    isServing: false,
    because: '',
    cgroup: null,
    tellsClient: false,
    isClosing: false,
    isEnding: false,
  };
  readonly #agents: ChildProcess[] = [];
  /** What the newest agent said. */
  said = '';

  constructor(net: string, guard: Guard, doors: Door[]) {
    this.#net = net;
    this.guard = guard;
    this.doors = doors;
  }

  async begin(): Promise<void> {
    await build({ ...bundled, entryPoints: [client], outfile: this.client });
    for (const version of ['1', '2']) await this.#install(version);
    this.wish({});
  }

  /** As deploy/bundle.mjs does it, but for the agent, which is the rig's. */
  async #install(version: string): Promise<void> {
    const folder = join(this.#programs, version);
    mkdirSync(folder);
    const parts = {
      agent: 'test/hosting/gate-agent.ts',
      gate: 'node/hosting/gate/gate-process.ts',
      watchdog: 'node/watchdog/watchdog-process.ts',
    };
    for (const [name, file] of Object.entries(parts))
      await build({ ...bundled, entryPoints: [file], outfile: join(folder, `${name}.cjs`) });
    const bin = readFileSync(join(root, 'deploy/bin.cjs'), 'utf8').replace('@LEAST@', '20.0');
    writeFileSync(join(folder, 'autogit-node.cjs'), bin);
  }

  /** What the mesh has decided; the agent writes it with its next lease. */
  wish(more: Partial<AgentWish>): void {
    this.#wish = { ...this.#wish, ...more };
    writeFileSync(join(this.home, 'wish.new'), JSON.stringify(this.#wish));
    renameSync(join(this.home, 'wish.new'), join(this.home, 'wish.json'));
  }

  /** The program that asks, and sees what becomes of each byte. */
  get client(): string {
    return join(this.#programs, 'client.cjs');
  }

  /** With the umask of the service's unit: the gate's user has to read what it writes. */
  agent({ version = '1', doors = this.doors, isStrict = false } = {}): ChildProcess {
    const setting: AgentSetting = { home: this.home, guard: this.guard, doors, version, isStrict };
    const bin = join(this.#programs, version, 'autogit-node.cjs');
    const script = 'umask 077; exec "$@"';
    const command = ['sh', '-c', script, 'sh', process.execPath, bin, JSON.stringify(setting)];
    const env = { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' };
    const child = spawn('nsenter', [netOf(this.#net), ...command], { stdio: ['ignore', 'pipe', 2], env });
    this.said = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      this.said += chunk.toString('utf8');
    });
    this.#agents.push(child);
    return child;
  }

  get gate(): number {
    return gateNow(this.home).pid as number;
  }
  get watchdog(): number {
    return watchdogPid(this.home) as number;
  }
  /** The newest lease that the gate has read. */
  get seen(): string | null {
    return gateNow(this.home).pid === null ? null : seenBy(this.home, this.gate).id;
  }
  get folder(): string {
    return gateFolder(this.home);
  }

  log(): string {
    return readFileSync(join(this.home, 'gate.log'), 'utf8');
  }

  /** A command where the machine's programs are; its words, whatever came of it. */
  inside(command: string[], user?: number): { status: number | null; text: string } {
    const who = user === undefined ? [] : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
    const done = spawnSync('nsenter', [netOf(this.#net), ...who, ...command], { encoding: 'utf8', timeout: 20_000 });
    return { status: done.status, text: `${done.stdout}${done.stderr}` };
  }

  end(): void {
    for (const agent of this.#agents) agent.kill('SIGKILL');
    for (const pid of [...livingGates(this.home), watchdogPid(this.home)])
      if (pid !== null) process.kill(pid, 'SIGKILL');
    for (const folder of [this.home, this.#programs]) rmSync(folder, { recursive: true, force: true });
  }
}
