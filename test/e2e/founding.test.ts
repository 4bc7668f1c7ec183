import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Lan } from './namespaces.ts';
import { asRoot, bin, Rig, type TestMachine, until } from './rig.ts';

/** All machines are told to `join` at the same moment, before any of them has founded (needs root: namespaces). */
describe('who founds', () => {
  let rig: Rig;
  let lan: Lan;
  let people: ChildProcess[] = [];
  beforeEach(() => {
    rig = new Rig();
    lan = new Lan(3);
  });
  afterEach(async () => {
    for (const person of people) person.kill('SIGKILL');
    people = [];
    await rig.clean();
    lan.down();
  });

  const process_ = ['--executor', 'process', ...asRoot];
  const machine = (i: number, name: string): TestMachine => rig.machine(name, lan.namespace(i));
  const meshOf = async (one: TestMachine) => {
    const { mesh, nodes } = await one.status();
    return `${mesh.id} ${nodes.length}`;
  };

  /** Somebody at a real terminal: `says` collects the screen, `types` presses keys. */
  function person(i: number, name: string, ...args: string[]) {
    const one = machine(i, name);
    const words = [process.execPath, bin, '--home', one.home, 'join', '--name', name, ...process_, ...args];
    const inside = words.map((word) => `'${word}'`).join(' ');
    const net = `--net=/var/run/netns/${lan.namespace(i)}`;
    const child = spawn('nsenter', [net, 'script', '-qec', inside, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] });
    people.push(child);
    const seen = { machine: one, screen: '', types: (keys: string): void => void child.stdin.write(keys) };
    child.stdout.on('data', (data) => (seen.screen += data));
    return seen;
  }

  it('three with --new at once and nobody at a terminal: one mesh, whoever saw whom first', async () => {
    const names = ['kang', 'desktop-1', 'desktop-2'];
    const machines = names.map((name, index) => machine(index + 1, name));
    for (const one of machines) one.join(...process_, '--new', '--pair', '10m');
    await until('one mesh of three', async () => {
      const meshes = await Promise.all(machines.map(meshOf));
      return new Set(meshes).size === 1 && meshes[0]?.endsWith(' 3');
    });
    for (const { home } of machines) {
      expect(existsSync(join(home, 'store.next'))).toBe(false);
      expect(existsSync(join(home, 'store.left'))).toBe(false);
    }
  }, 90_000);

  it('two people who both press Enter: who looked again is asked, and ends in the mesh of the other', async () => {
    const kang = person(1, 'kang', '--pair', '10m');
    const desktop = person(2, 'desktop-1', '--pair', '10m');
    for (const one of [kang, desktop]) await until('the question', () => one.screen.includes('Start a new one here?'));
    kang.types('\r');
    await until('its name', () => kang.screen.includes('Its name? [home]'));
    kang.types('\r');
    await until('kang leads', () => kang.screen.includes('joined'));
    desktop.types('\r');
    await until('its name', () => desktop.screen.includes('Its name? [home]'));
    desktop.types('\r');
    await until('the clear question', () =>
      /kang founded "home" meanwhile: ask to be let in there\? \[Y\/n\]/.test(desktop.screen),
    );
    desktop.types('\r');
    await until('one mesh of two', async () => (await meshOf(kang.machine)).endsWith(' 2'));
    expect(await meshOf(desktop.machine)).toBe(await meshOf(kang.machine));
  }, 60_000);

  it('two meshes see each other, refused flags say why, and join --switch leads out', async () => {
    const [kang, desktop] = [machine(1, 'kang'), machine(2, 'desktop-1')];
    lan.unplug(2);
    kang.join(...process_, '--new', 'alpha');
    desktop.join(...process_, '--new', 'beta');
    for (const one of [kang, desktop]) await until('it leads', async () => (await one.status()).leader);
    lan.plug(2);
    for (const [one, other] of [
      [kang, 'beta'],
      [desktop, 'alpha'],
    ] as const)
      await until(`the other mesh is seen`, async () =>
        (await one.status()).attention.some(
          ({ code, sentence, fix }) =>
            code === 'other-mesh' && sentence.includes(`another mesh "${other}"`) && fix?.includes('join --switch'),
        ),
      );
    const identity = (await desktop.status()).nodes[0]?.id;
    expect((await desktop.cli('leave')).code).toBe(0);
    await until('it ended', () => desktop.process?.exitCode !== null);
    for (const [flag, what] of [
      ['--new=gamma', '--new gamma'],
      ['--mesh=alpha', '--mesh alpha'],
      ['--invite=AAAA-BBBB', '--invite'],
    ] as const) {
      const { code, stderr } = await desktop.cli('--no-input', 'join', flag);
      expect([code, stderr]).toEqual([
        2,
        expect.stringMatching(new RegExp(`is in mesh "beta" already, so that ${what} cannot be obeyed[^]*--switch`)),
      ]);
    }
    const invite = JSON.parse((await kang.cli('invite', '--json')).stdout) as { code: string };
    desktop.join(...process_, '--switch', '--invite', invite.code);
    await until('one mesh of two', async () => (await meshOf(kang)).endsWith(' 2'));
    const after = await until('it is a member', async () => desktop.status());
    expect([after.mesh.name, after.nodes.find(({ self }) => self)?.id]).toEqual(['alpha', identity]);
    expect(after.attention.map(({ code }) => code)).not.toContain('other-mesh');
  }, 90_000);

  it('agents of one machine that start at once take one port each', async () => {
    const four = ['a', 'b', 'c', 'd'].map((name) => machine(1, name));
    for (const one of four) one.join(...process_, '--no-mdns', '--new', one.name);
    const ports = await Promise.all(
      four.map((one) =>
        until(`${one.name} leads`, async () => {
          const { leader, nodes } = await one.status();
          return leader && nodes[0]?.address?.split(':').at(-1);
        }),
      ),
    );
    expect(new Set(ports).size).toBe(4);
  }, 60_000);
});
