import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Ledger } from '../../protocol/ledger.ts';
import { install } from '../bench/debian.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import type { Child } from '../real/network-child.ts';
import { pause } from '../real/network-party.ts';

/** A committed ledger of these nodes that does not say where they are: only mDNS can tell. */
export function ledgerWithoutAddresses(meshId: string, members: readonly Child[]): Ledger {
  const [first] = members as [Child];
  const ledger = foundedMesh({
    meshId,
    meshName: meshId,
    era: `era-${meshId}`,
    node: first.node,
    name: 'm0',
    store: 'store',
    wallMs: Date.now(),
  });
  const founder = ledger.nodes[first.node];
  for (const [at, { node }] of members.entries()) if (founder) ledger.nodes[node] = { ...founder, name: `m${at}` };
  return ledger;
}

export const giveLedger = async (members: readonly Child[], ledger: Ledger): Promise<void> =>
  void (await Promise.all(members.map((one) => one.order('ledger', ledger))));

/** Nodes that it is connected to, in any order. */
export const connected = async (child: Child): Promise<string[]> => (await child.order<string[]>('connected')).sort();

/** Interfaces that must not be announced: every Docker host has the same ones. */
export function addContainersAndVpn(ip: (...args: string[]) => string): void {
  ip('link', 'add', 'docker0', 'type', 'bridge');
  ip('addr', 'add', '172.17.0.1/16', 'dev', 'docker0');
  ip('link', 'set', 'docker0', 'up');
  ip('link', 'add', 'veth0c1', 'type', 'veth', 'peer', 'name', 'vethc1');
  ip('link', 'set', 'veth0c1', 'master', 'docker0', 'up');
  ip('link', 'set', 'vethc1', 'up');
  // Not every kernel has wireguard: its name is what counts.
  ip('link', 'add', 'wg0', 'type', 'veth', 'peer', 'name', 'wg1');
  ip('addr', 'add', '10.9.0.1/24', 'dev', 'wg0');
  ip('link', 'set', 'wg0', 'up');
}

/** Debian's avahi-daemon inside a machine; the test ends it. Installs the package when it is missing. */
export class Avahi {
  readonly #folder = mkdtempSync(join(tmpdir(), 'autogit-avahi-'));
  readonly #process: ChildProcess;
  output = '';

  /** `isAlone`: it does not share port 5353. */
  constructor(inside: string[], { isAlone = false, hostName = 'test' } = {}) {
    install({ 'avahi-daemon': 'avahi-daemon' });
    const config = join(this.#folder, 'avahi.conf');
    writeFileSync(
      config,
      `[server]\nhost-name=${hostName}\nenable-dbus=no\nuse-ipv6=no\ndisallow-other-stacks=${isAlone ? 'yes' : 'no'}\n`,
    );
    // Its pid file has a fixed place: it gets a /run of its own.
    const run = join(this.#folder, 'run');
    mkdirSync(run);
    const script = `mount --bind ${run} /run && mkdir -p /run/avahi-daemon && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f ${config}`;
    const [command, ...args] = [...inside, 'unshare', '--mount', 'sh', '-c', script];
    this.#process = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr])
      stream?.on('data', (data) => {
        this.output += data;
      });
  }

  /** The address that a program of its machine learns of a name, by glibc and nss-mdns; empty when none. Programs find it in its own mounts. */
  async lookUp(name: string): Promise<string> {
    const at = ['-t', String(this.#process.pid), '-m', '-n', 'timeout', '2', 'getent', 'hosts', name];
    const { stdout } = await promisify(execFile)('nsenter', at).catch(() => ({ stdout: '' }));
    return stdout.split(/\s/)[0] ?? '';
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async started(): Promise<void> {
    for (let i = 0; i < 200 && !this.output.includes('Server startup complete'); i++) {
      if (!this.isRunning) throw new Error(`avahi-daemon ended: ${this.output}`);
      await pause(50);
    }
    if (!this.output.includes('Server startup complete')) throw new Error(`avahi-daemon did not start: ${this.output}`);
  }

  async stop(): Promise<void> {
    if (this.isRunning) {
      const gone = new Promise((resolve) => this.#process.once('exit', resolve));
      this.#process.kill('SIGKILL');
      await gone;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
