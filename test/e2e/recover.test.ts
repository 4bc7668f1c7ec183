import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formMesh, settled } from './mesh.ts';
import { asRoot, Rig, type TestMachine, until } from './rig.ts';

/** Two of three machines are gone for good: the last one goes on by force, and whoever comes back follows (SAFETY L15). */
describe('three machines, two of which die', () => {
  const rig = new Rig();
  let kang: TestMachine;
  let first: TestMachine;
  let second: TestMachine;

  beforeAll(async () => {
    [kang, first, second] = (await formMesh(rig, ['kang', 'desktop-1', 'desktop-2'])) as [
      TestMachine,
      TestMachine,
      TestMachine,
    ];
  }, 120_000);
  afterAll(() => rig.clean());

  /** Its agent is started again, and told where another one is. */
  async function comeBack(machine: TestMachine, other: TestMachine): Promise<void> {
    const address = (await other.status()).nodes.find((row) => row.self)?.address ?? '';
    const local = ['--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns', '--peer', address];
    machine.join('--executor', 'process', ...asRoot, ...local);
  }

  const force = (...more: string[]) => kang.cli('recover', '--force', ...more);
  const off = ['--off', 'desktop-1', '--off', 'desktop-2'];

  it('refuses force while a majority stands', async () => {
    const { code, stderr } = await force(...off, '--yes');
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^error: .* leads: there is nothing to recover\nfix: /)]);
  });

  it('goes on after a person has named the machines seen switched off, and not before', async () => {
    await Promise.all([first.kill('SIGKILL'), second.kill('SIGKILL')]);
    const status = await until('kang says what is missing', async () => {
      const now = await kang.status();
      return now.leader === null && now.attention.some(({ code }) => code === 'no-quorum') ? now : null;
    });
    const line = status.attention.find(({ code }) => code === 'no-quorum');
    expect(line?.fix).toMatch(/: autogit-node recover --force$/);

    const unnamed = await force('--off', 'desktop-1');
    expect(unnamed.code).toBe(2);
    expect(unnamed.stderr).toContain('there are two meshes, and what one');
    expect(unnamed.stderr).toContain('nobody has said that desktop-2 is switched off');
    expect(unnamed.stderr).toMatch(
      /fix: .*: autogit-node --home \S+ recover --force --off desktop-1 --off desktop-2 --yes/,
    );
    const stranger = await until('the last word of the others is five seconds old', async () => {
      const ended = await force(...off, '--off', 'nobody', '--yes');
      return ended.stderr.includes('was heard') ? null : ended;
    });
    expect([stranger.code, stranger.stderr]).toEqual([
      1,
      expect.stringContaining('no machine of the mesh is called nobody'),
    ]);

    const done = await force(...off, '--yes');
    expect([done.code, done.stdout]).toEqual([
      0,
      expect.stringMatching(/^kang goes on alone without desktop-[12] and desktop-[12], in era [234];/),
    ]);
    const written = await until('settings can be written', async () => {
      const ended = await kang.cli('settings', 'graceMs', '5000');
      return ended.code === 0 ? ended : null;
    });
    expect(written.stdout).toContain('graceMs is 5 s');
    const after = await kang.status();
    expect(after.quorum).toMatchObject({ voters: ['kang'], sentence: 'one voter: without kang nothing is decided' });
    expect(after.attention.map(({ code }) => code)).toContain('recovered');
    expect(kang.events('mesh-recovered')).toHaveLength(1);
  });

  it('takes back who returns: it follows, and votes again', async () => {
    await comeBack(first, kang);
    await until('both vote', async () => (await first.status()).quorum.voters.length === 2);
    const [changed] = first.events('era-changed');
    // By kang's place among all: machines that are recovered apart begin eras of their own.
    const [recovered] = kang.events('mesh-recovered');
    expect([2, 3, 4]).toContain(recovered?.era);
    expect(changed).toMatchObject({ era: recovered?.era });
    expect((await first.cli('settings', 'graceMs')).stdout.trim()).toBe('5000');
    await comeBack(second, kang);
    await settled([kang, first, second]);
    expect((await kang.status()).attention.map(({ code }) => code)).not.toContain('recovered');

    // And they are a mesh again that loses any one of them: also the one that went on alone.
    await kang.kill('SIGKILL');
    await until('another leads', async () => ((await first.status()).leader?.node ?? 'kang') !== 'kang');
    expect((await first.cli('settings', 'graceMs', '6000')).code).toBe(0);
    await comeBack(kang, first);
    await settled([kang, first, second]);
    expect((await kang.cli('settings', 'graceMs')).stdout.trim()).toBe('6000');
  });
});
