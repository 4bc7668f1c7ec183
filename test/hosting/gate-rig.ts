import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { watchdogPid } from '../../node/watchdog/watchdog.ts';
import { netOf } from '../root/lan.ts';
import type { Door } from './gate.ts';
import type { AgentSetting, AgentWish } from './gate-agent.ts';
import type { Guard } from './gate-guard.ts';
import { gatePid } from './gate-process.ts';

/** A network namespace with an engine in it, an agent in miniature, its gate and its watchdog. */
export class GateRig {
  readonly home = mkdtempSync('/var/tmp/t-gate-home-');
  readonly net: string;
  readonly guard: Guard;
  readonly doors: Door[];
  #wish: AgentWish = { epoch: 1, leaseMs: 4000, upstream: null, isServing: false, because: '', freezer: null };
  readonly #agents: ChildProcess[] = [];

  constructor(net: string, guard: Guard, doors: Door[]) {
    this.net = net;
    this.guard = guard;
    this.doors = doors;
  }

  async begin(): Promise<void> {
    chmodSync(this.home, 0o755);
    const source = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
    await build({
      entryPoints: { agent: source('gate-agent.ts'), client: source('gate-client.ts') },
      outdir: this.home,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'error',
    });
    this.wish({});
  }

  /** What the mesh has decided; the agent writes it with its next lease. */
  wish(more: Partial<AgentWish>): void {
    this.#wish = { ...this.#wish, ...more };
    writeFileSync(join(this.home, 'wish.json'), JSON.stringify(this.#wish));
  }

  /** The program that asks, and sees what becomes of each byte. */
  get client(): string {
    return join(this.home, 'client.mjs');
  }

  agent(): ChildProcess {
    const setting: AgentSetting = { home: this.home, guard: this.guard, doors: this.doors };
    const command = [process.execPath, join(this.home, 'agent.mjs'), JSON.stringify(setting)];
    const child = spawn('nsenter', [netOf(this.net), ...command], { stdio: ['ignore', 2, 2] });
    this.#agents.push(child);
    return child;
  }

  get gate(): number {
    return gatePid(this.home) as number;
  }

  log(): string {
    return readFileSync(join(this.home, 'gate.log'), 'utf8');
  }

  /** A command where the machine's programs are; its words, whatever came of it. */
  inside(command: string[], user?: number): { status: number | null; text: string } {
    const who = user === undefined ? [] : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
    const done = spawnSync('nsenter', [netOf(this.net), ...who, ...command], { encoding: 'utf8', timeout: 20_000 });
    return { status: done.status, text: `${done.stdout}${done.stderr}` };
  }

  end(): void {
    for (const agent of this.#agents) agent.kill('SIGKILL');
    for (const pid of [gatePid(this.home), watchdogPid(this.home)]) if (pid !== null) process.kill(pid, 'SIGKILL');
    rmSync(this.home, { recursive: true, force: true });
  }
}
