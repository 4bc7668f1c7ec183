import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formMesh, letIn, settled } from './mesh.ts';
import { asRoot, Rig, type TestMachine, until } from './rig.ts';

describe('letting machines in', () => {
  const rig = new Rig();
  const local = ['--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns'];
  let kang: TestMachine;
  let address = '';

  const newcomer = (name: string, ...args: string[]): TestMachine => {
    const machine = rig.machine(name);
    machine.join(...local, '--peer', address, ...args);
    return machine;
  };
  const exited = (machine: TestMachine): Promise<number> =>
    until(`${machine.name} ends`, () =>
      machine.process?.exitCode === null ? null : { code: machine.process?.exitCode },
    ).then(({ code }) => code ?? -1);

  beforeAll(async () => {
    [kang] = (await formMesh(rig, ['kang'])) as [TestMachine];
    address = (await kang.status()).nodes.find((row) => row.self)?.address ?? '';
  }, 60_000);
  afterAll(() => rig.clean());

  it('by words; until then every command says so and exits 4', async () => {
    const desktop = newcomer('desktop-1');
    await until('it waits', () => desktop.output.includes('compare the words'));
    const { code, stderr } = await desktop.cli('jobs');
    expect([code, stderr]).toEqual([4, expect.stringContaining('approve')]);
    const wrong = await kang.cli('approve', 'desktop-1', '--words', 'wrong-wrong-wrong-wrong');
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringMatching(/words/)]);
    // Nobody compared anything, and --yes is no comparison.
    for (const unseen of [['desktop-1'], ['desktop-1', '--yes'], ['--yes'], []]) {
      const { code: refused, stderr: because } = await kang.cli('approve', ...unseen);
      expect([refused, because]).toEqual([2, expect.stringMatching(/nobody here can compare.*--words [a-z-]+/s)]);
    }
    expect(desktop.output).toMatch(/autogit-node approve desktop-1 --words [a-z]+-[a-z]+-[a-z]+-[a-z]+/);
    await letIn(kang, desktop);
    await settled([kang, desktop]);
  });

  it('by a one-time invite, which is good once', async () => {
    const { stdout } = await kang.cli('invite', '--json');
    const { code } = JSON.parse(stdout) as { code: string };
    const first = newcomer('invited-1', '--invite', code);
    await until('it is in the mesh', async () => (await first.status()).leader);
    const second = newcomer('invited-2', '--invite', code);
    expect(await exited(second)).toBe(1);
    expect(second.output).toMatch(/invite/);
  });

  it('by the pair window of a founder', async () => {
    const founder = rig.machine('founder');
    founder.join(...local, '--new', 'other', '--pair', '10m');
    const other = await until('the founder leads', async () => {
      const status = await founder.status();
      return status.leader ? status.nodes.find((row) => row.self)?.address : null;
    });
    const desktop = rig.machine('paired');
    desktop.join(...local, '--peer', other);
    await settled([founder, desktop]);
    expect(desktop.output).not.toContain('compare the words');
  });

  it('forget: at once and everywhere; the forgotten machine is told', async () => {
    const before = await kang.status();
    expect(before.nodes.map((row) => row.node)).toContain('invited-1');
    const itself = await kang.cli('forget', 'kang', '--yes');
    expect([itself.code, itself.stderr]).toEqual([1, expect.stringMatching(/kang is this machine.*leave/s)]);
    const { code } = await kang.cli('forget', 'invited-1', '--yes');
    expect(code).toBe(0);
    await until('it is gone from the list', async () =>
      (await kang.status()).nodes.every((row) => row.node !== 'invited-1'),
    );
    const desktop = rig.machines.find((machine) => machine.name === 'desktop-1') as TestMachine;
    await until('everywhere', async () => (await desktop.status()).nodes.every((row) => row.node !== 'invited-1'));
    const out = rig.machines.find((machine) => machine.name === 'invited-1') as TestMachine;
    expect(await exited(out)).toBe(4);
    const said = /removed from mesh home by \S+ on kang on \d{4}-\d\d-\d\d at \d\d:\d\d/;
    expect(out.output).toMatch(said);
    const { code: there, stderr } = await out.cli('status');
    expect([there, stderr]).toEqual([4, expect.stringMatching(said)]);
    expect(stderr).toMatch(/^fix: .*: autogit-node --home \S+ join$/m);
    expect(readdirSync(out.home)).not.toEqual(expect.arrayContaining(['store']));
  });

  it('a forgotten machine asks again with a plain join, and comes back; also one that was away when it was removed', async () => {
    const back = rig.machines.find((machine) => machine.name === 'invited-1') as TestMachine;
    back.output = '';
    back.join(...local, '--peer', address);
    await letIn(kang, back);
    await until('it is back', async () => (await back.status()).leader);
    await back.kill();
    expect((await kang.cli('forget', 'invited-1', '--yes')).code).toBe(0);
    back.output = '';
    back.join(...local, '--peer', address);
    await until('it learns it and asks', () => back.output.includes('asks to be let in again'), 20_000);
    await letIn(kang, back);
    await until('it is back', async () => (await back.status()).leader);
    await back.cli('leave');
    await kang.cli('forget', 'invited-1', '--yes');
  });

  it('leave keeps the identity: the machine comes back without a question', async () => {
    const desktop = rig.machines.find((machine) => machine.name === 'desktop-1') as TestMachine;
    const { code } = await desktop.cli('leave');
    expect(code).toBe(0);
    expect(await exited(desktop)).toBe(0);
    desktop.join(...local);
    await settled([kang, desktop]);
  });
});
