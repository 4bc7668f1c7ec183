import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const python = '/usr/bin/python3';
const login1 = ['org.freedesktop.login1', '/org/freedesktop/login1'] as const;

/** Debian's packages of what stands in for a systemd-logind; needs root where one is missing. */
export function installLogindStandIn(): void {
  const wanted = {
    '/usr/bin/dbus-daemon': 'dbus-daemon',
    '/usr/bin/dbus-monitor': 'dbus-bin',
    '/usr/bin/busctl': 'systemd',
    '/usr/lib/python3/dist-packages/dbusmock': 'python3-dbusmock',
  };
  const missing = Object.entries(wanted).flatMap(([file, name]) => (existsSync(file) ? [] : [name]));
  if (missing.length === 0) return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  execFileSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  const install = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends'];
  execFileSync('apt-get', [...install, ...missing], { env, stdio: ['ignore', 'ignore', 'inherit'] });
}

/**
 * A system bus of its own, a real dbus-daemon, with python-dbusmock's systemd-logind on it: its Inhibit hands out real
 * locks, pipes that are given back by closing them. Sleep itself is only said, by its signals.
 */
export class LogindStandIn {
  readonly folder = mkdtempSync(join(tmpdir(), 'autogit-logind-'));
  readonly address = `unix:path=${join(this.folder, 'bus')}`;
  readonly #children: ChildProcess[] = [];

  get env(): Record<string, string> {
    return { DBUS_SYSTEM_BUS_ADDRESS: this.address };
  }

  /** `delayMs`: what InhibitDelayMaxSec says. */
  async start(delayMs = 5000): Promise<this> {
    this.#spawn('dbus-daemon', ['--session', '--nofork', `--address=${this.address}`]);
    await this.#until('the bus', () => existsSync(join(this.folder, 'bus')));
    this.#spawn(python, ['-m', 'dbusmock', '--template', 'logind']);
    await this.#until('logind', () => this.inhibitors().then(() => true));
    const property = ['org.freedesktop.login1.Manager', 'InhibitDelayMaxUSec', 't', String(delayMs * 1000)];
    await this.#call('org.freedesktop.DBus.Mock', 'AddProperty', 'ssv', ...property);
    return this;
  }

  /** `PrepareForSleep` or `PrepareForShutdown`, as logind says it to everybody. */
  async say(member: string, begins: boolean): Promise<void> {
    const signal = ['sssav', 'org.freedesktop.login1.Manager', member, 'b', '1', 'b', String(begins)];
    await this.#call('org.freedesktop.DBus.Mock', 'EmitSignal', ...signal);
  }

  /** Who holds a lock now: "what who why mode". */
  async inhibitors(): Promise<string[]> {
    const text = await this.#call('org.freedesktop.login1.Manager', 'ListInhibitors');
    const { data } = JSON.parse(text) as { data: [[string, string, string, string, number, number][]] };
    return data[0].map(([what, who, why, mode]) => `${what} ${who} ${mode}: ${why}`);
  }

  async stop(): Promise<void> {
    for (const child of this.#children.reverse()) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      if (child.exitCode === null && child.signalCode === null && child.kill()) await gone;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #spawn(file: string, args: string[]): void {
    this.#children.push(spawn(file, args, { env: { ...process.env, ...this.env }, stdio: 'ignore' }));
  }

  async #call(iface: string, method: string, ...args: string[]): Promise<string> {
    const all = ['--system', '--json=short', 'call', ...login1, iface, method, ...args];
    return (await run('busctl', all, { env: { ...process.env, ...this.env } })).stdout;
  }

  async #until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    for (const end = Date.now() + 30_000; ; ) {
      if (await Promise.resolve(holds()).catch(() => false)) return;
      if (Date.now() > end) throw new Error(`${what} did not come up`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
