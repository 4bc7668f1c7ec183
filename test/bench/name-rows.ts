import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { bundleProcess } from '../real/network-child.ts';
import { Avahi } from '../root/discovery-rig.ts';
import { buildLan, type Lan } from '../root/lan.ts';
import { install, installPackage } from './debian.ts';
import { maxUnder, type Row, row } from './figures.ts';

const run = promisify(execFile);
const name = 'bench-home.local';
const floating = '10.77.0.100';
const lookMs = 20;
const limitMs = 20_000;

/** Machines 1 and 2 have GitLab in turn; machine 3 looks its address up as people's programs do, by glibc, nss-mdns and avahi. */
class Moves {
  readonly lan: Lan = buildLan(3);
  readonly #folder = mkdtempSync('/var/tmp/t-name-bench-');
  readonly #children: ChildProcess[] = [];
  readonly #bundle = bundleProcess(join(process.cwd(), 'test/root/name-process.ts'));
  #avahi: Avahi | null = null;

  #start(machine: number, ...words: string[]): void {
    const [file = '', ...args] = [...this.lan.inside(machine), ...words];
    this.#children.push(spawn(file, args, { stdio: 'ignore' }));
  }

  charge(machine: number, word: 'host' | ''): void {
    writeFileSync(join(this.#folder, String(machine)), word);
  }

  async begin(): Promise<void> {
    this.#avahi = new Avahi(this.lan.inside(3), { hostName: 'asks' });
    await this.#avahi.started();
    const { path } = await this.#bundle;
    for (const machine of [1, 2]) {
      this.charge(machine, '');
      this.#start(machine, process.execPath, path, `node-${machine}`, name, join(this.#folder, String(machine)));
      const config = join(this.#folder, `keepalived-${machine}.conf`);
      // Its own defaults: said each second, taken over after three.
      writeFileSync(
        config,
        `vrrp_instance one {\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n  priority ${150 - machine}\n  virtual_ipaddress {\n    ${floating}/24\n  }\n}\n`,
      );
      const pids = ['-p', '-r'].flatMap((flag, at) => [flag, join(this.#folder, `pid-${machine}-${at}`)]);
      this.#start(machine, 'keepalived', '--dont-fork', '--log-console', '--vrrp', '-f', config, ...pids);
    }
  }

  /** ms until the name leads there; each look-up is a process of its own, as a program's first one. */
  named(machine: number): Promise<number> {
    const wanted = this.lan.address(machine);
    return this.#until(`the name leads to ${wanted}`, async () => (await this.#avahi?.lookUp(name)) === wanted);
  }

  /** ms until the address that moves along is answered. */
  floats(): Promise<number> {
    const [file = '', ...args] = [...this.lan.inside(3), 'ping', '-c', '1', '-W', '0.2', floating];
    return this.#until('the address answers', () =>
      run(file, args).then(
        () => true,
        () => false,
      ),
    );
  }

  async #until(what: string, is: () => Promise<boolean>): Promise<number> {
    const begun = performance.now();
    while (!(await is())) {
      if (performance.now() - begun > limitMs) throw new Error(`${what}: not within ${limitMs} ms`);
      await sleep(lookMs);
    }
    return performance.now() - begun;
  }

  async end(): Promise<void> {
    for (const child of this.#children) child.kill('SIGTERM');
    await sleep(500);
    for (const child of this.#children) child.kill('SIGKILL');
    await this.#avahi?.stop();
    this.lan.remove();
    await (await this.#bundle).remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** One address (issue 10): `npm run bench -- prove --only name`, as root. The cable of who has it is pulled; of ours, at the moment at which the mesh has decided. */
export async function nameRows(trials: number, say: (line: string) => void): Promise<Row[]> {
  install({ keepalived: 'keepalived', ping: 'iputils-ping' });
  installPackage('libnss-mdns');
  const moves = new Moves();
  const [ours, theirs]: [number[], number[]] = [[], []];
  try {
    await moves.begin();
    moves.charge(1, 'host');
    await moves.named(1);
    await moves.floats();
    // Both have settled who is who.
    await sleep(8000);
    for (let trial = 0; trial < trials; trial++) {
      moves.lan.unplug(1);
      moves.charge(1, '');
      moves.charge(2, 'host');
      const [named, floated] = await Promise.all([moves.named(2), moves.floats()]);
      ours.push(named);
      theirs.push(floated);
      moves.lan.plug(1);
      moves.charge(2, '');
      moves.charge(1, 'host');
      await moves.named(1);
      // Announced, taken back, and what machine 3 keeps of it has run out.
      await sleep(12_000);
    }
    say(`name: ${trials} moves`);
  } finally {
    await moves.end();
  }
  return [
    row({
      measure: "a look-up of GitLab's name through avahi after a move; the former host's cable is out",
      ...{ unit: 'ms', ours, against: { name: 'keepalived, its own address', values: theirs } },
      targets: [maxUnder(2000)],
      note: "ours from the mesh's decision on; keepalived's decision, three seconds of silence, is in its figure",
    }),
  ];
}
