import { afterAll, beforeAll, expect, it } from 'vitest';
import { MailDouble } from '../real/mail-double.ts';
import { TestServer, verified } from '../real/notices-rig.ts';
import { formMesh, letIn, settled } from './mesh.ts';
import { asRoot, Rig, type TestMachine, until } from './rig.ts';

/** The published program tells people: sealed for who votes, by who leads, and once also where another one leads in between. */
const rig = new Rig();
const patienceMs = 150_000;
let machines: TestMachine[] = [];
let hook: TestServer;
let mail: MailDouble;
const key = 'a key that only the two know';

beforeAll(async () => {
  [hook, mail] = [await new TestServer().open(), await new MailDouble('me@home.lan').open()];
  machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2']);
}, 180_000);
afterAll(async () => {
  await rig.clean();
  await Promise.all([hook.close(), mail.close()]);
});
const told = () => hook.heard.map((heard) => verified(heard, Buffer.from(key)));

it('whoever votes can tell; a machine that waits is told once though the leader dies, and that it waits no more by the next', async () => {
  const [kang, desktop] = machines as [TestMachine, TestMachine];
  kang.env.KEY = key;
  kang.env.HOOK = `${hook.url}/hook/t0ken-0123456789abcdef`;
  const added = await kang.cli(
    'notify',
    'add',
    'webhook',
    '--name',
    'hook',
    '--url-env',
    'HOOK',
    '--secret-env',
    'KEY',
  );
  expect([added.code, added.stdout.trim()]).toEqual([
    0,
    `hook is told when something is wrong (webhook, ${hook.url}/…)`,
  ]);
  // Of a library of its own, in a file beside the agent.
  const letter = await desktop.cli('notify', 'add', 'mail', `smtp://127.0.0.1:${mail.port}`, '--to', 'me@home.lan');
  expect([letter.code, letter.stderr]).toEqual([0, expect.stringContaining('notify test')]);
  const tested = await (machines[2] as TestMachine).cli('notify', 'test', '--json');
  expect(JSON.parse(tested.stdout)).toMatchObject({
    rows: [
      { name: 'hook', ok: true },
      { name: 'mail', ok: true },
    ],
  });
  expect([told()[0]?.state, mail.letters.length]).toEqual(['test', 1]);
  for (const { stdout } of [await kang.cli('notify', 'list'), await kang.cli('status', '--json')])
    expect(stdout).not.toMatch(/t0ken|a key that only/);

  const attic = rig.machine('attic', null);
  // Not by the one that leads: it is to die.
  const leader = await settled(machines);
  const seen = (await kang.status()).nodes.find(({ node }) => node !== leader)?.address ?? '';
  attic.join('--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns', '--peer', seen);
  const asked = () => told().filter(({ title }) => String(title).includes('attic'));
  await until('people are told that attic waits', () => asked().length > 0, patienceMs);
  expect(asked()[0]).toMatchObject({
    severity: 'info',
    mesh: { name: 'home' },
    title: expect.stringMatching(/^home: attic waits/),
  });
  await until('the ledger knows that they were', async () => {
    const { rows } = JSON.parse((await kang.cli('notify', 'list', '--json')).stdout) as { rows: { waiting: number }[] };
    return rows.every(({ waiting }) => waiting === 0);
  });

  const dead = machines.find(({ name }) => name === leader) as TestMachine;
  const others = machines.filter((one) => one !== dead);
  await dead.kill();
  await until('another one leads', async () => {
    const now = (await others[0]!.status()).leader?.node;
    return now !== undefined && now !== leader;
  });
  await letIn(others[0] as TestMachine, attic);
  await until('people are told that it waits no more', () => asked().length > 1, patienceMs);
  expect(asked().map(({ state }) => state)).toEqual(['broken', 'fixed']);
  expect(new Set(asked().map(({ incident }) => incident)).size).toBe(1);
});
