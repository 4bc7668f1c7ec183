import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { installPackage } from '../bench/debian.ts';
import { type Bundle, bundleProcess } from '../real/network-child.ts';
import { until } from '../real/run-lab.ts';
import { Avahi } from './discovery-rig.ts';
import { buildLan, type Lan } from './lan.ts';

/** Our responder on two machines of a LAN, each beside Debian's avahi-daemon; a third machine asks as people's programs do (glibc, nss-mdns, avahi). */
const folder = mkdtempSync('/var/tmp/t-local-name-');
const name = 'adas-home.local';
const children: ChildProcess[] = [];
const said = new Map<number, string>();
const avahis: Avahi[] = [];
let lan: Lan;
let bundle: Bundle;

const charge = (machine: number, word: 'host' | 'leader' | ''): void =>
  writeFileSync(join(folder, String(machine)), word);

function begin(machine: number, called = name): ChildProcess {
  const [file = '', ...args] = [...lan.inside(machine), process.execPath, bundle.path];
  const child = spawn(file, [...args, `node-${machine}`, called, join(folder, String(machine))], {
    stdio: ['ignore', 'pipe', 2],
  });
  said.set(machine, '');
  child.stdout?.on('data', (data) => said.set(machine, `${said.get(machine)}${data}`));
  children.push(child);
  return child;
}

/** ms until it is that address. */
async function leadsTo(machine: number, avahi = avahis[2] as Avahi): Promise<number> {
  const begun = performance.now();
  await until(
    `it leads to machine ${machine}`,
    async () => (await avahi.lookUp(name)) === lan.address(machine),
    15_000,
  );
  return performance.now() - begun;
}

beforeAll(async () => {
  installPackage('libnss-mdns');
  bundle = await bundleProcess(fileURLToPath(new URL('./name-process.ts', import.meta.url)));
  lan = buildLan(3);
  for (const machine of [1, 2, 3]) {
    charge(machine, '');
    avahis.push(new Avahi(lan.inside(machine), { hostName: `machine-${machine}` }));
  }
  await Promise.all(avahis.map((one) => one.started()));
  begin(1);
  begin(2);
}, 120_000);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  for (const avahi of avahis) await avahi.stop();
  lan?.remove();
  await bundle?.remove();
  rmSync(folder, { recursive: true, force: true });
});

it('leads to the machine that serves GitLab, also on that machine, and to nobody while nobody does', async () => {
  expect(await avahis[2]?.lookUp(name)).toBe('');
  charge(1, 'host');
  await leadsTo(1);
  await leadsTo(1, avahis[0]);
});

it('is told beforehand from one that somebody has, also where that is another mesh', () => {
  const [file = '', ...args] = [...lan.inside(2), process.execPath, bundle.path, 'node-2'];
  const whyNot = (called: string): unknown =>
    JSON.parse(execFileSync(file, [...args, called, 'trial'], { encoding: 'utf8' }));
  expect(whyNot('nobodys.local')).toBe(null);
  expect(whyNot('machine-3.local')).toBe(`machine-3.local is the name of another machine, at ${lan.address(3)}`);
  expect(whyNot(name)).toBe(`${name} is the name of another machine, at ${lan.address(1)}`);
});

it('follows a move, and a machine that has died', async () => {
  charge(1, '');
  charge(2, 'host');
  expect(await leadsTo(2)).toBeLessThan(4000);
  lan.unplug(2);
  charge(1, 'leader');
  expect(await leadsTo(1)).toBeLessThan(4000);
});

it('a machine of before that comes back and speaks does not keep it', async () => {
  charge(1, 'host');
  // It hears of its end a moment late.
  lan.plug(2);
  await new Promise((done) => setTimeout(done, 1500));
  charge(2, '');
  await leadsTo(1);
  await new Promise((done) => setTimeout(done, 1000));
  expect(await avahis[2]?.lookUp(name)).toBe(lan.address(1));
});

it('a stranger who has that name keeps it, and is not made to take another', async () => {
  charge(3, 'host');
  begin(3, 'machine-2.local');
  await until(
    'it is said',
    () => said.get(3)?.includes('problem: machine-2.local is the name of another machine too, at ') === true,
    10_000,
  );
  expect(await avahis[0]?.lookUp('machine-2.local')).toBe(lan.address(2));
  expect(avahis[1]?.output).not.toMatch(/conflict/i);
});
