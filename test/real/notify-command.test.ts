import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cleanEnv, runCli } from './cli-child.ts';
import { smallCommands } from './small-commands.ts';

/** What `notify` takes and says: the published command before an agent in small. */
describe('notify', () => {
  const here = smallCommands('notify');
  const run = (args: string[], env: Record<string, string> = {}) =>
    runCli(['--home', here.home, ...args], { ...cleanEnv(here.home), ...env });
  const row = { name: 'phone', kind: 'webhook', shown: 'https://home.lan/…', since: 0, because: '', waiting: 0 };

  it('add: a secret comes from a variable or a file, and is in no line that is printed', async () => {
    const file = join(here.home, 'key');
    writeFileSync(file, 's3cret-key\n', { mode: 0o600 });
    const env = { HOOK: 'https://home.lan/hook/t0ken-0123456789abcdef' };
    const done = await run(
      ['notify', 'add', 'webhook', '--name', 'phone', '--url-env', 'HOOK', '--secret-file', file],
      env,
    );
    expect([done.code, done.stderr]).toEqual([0, expect.stringContaining('notify test')]);
    expect(here.agent.asked).toEqual([
      { notice: { kind: 'webhook', name: 'phone', url: env.HOOK, secret: 's3cret-key', isArgument: false } },
    ]);
    expect(done.stdout + done.stderr).not.toMatch(/t0ken|s3cret/);
  });

  it('add: what is wrong is said with what to type, before the agent is asked', async () => {
    const cases: [string[], RegExp][] = [
      [['webhook', 'https://home.lan/hook?token=t0ken'], /has a secret in it[\s\S]*--url-env VAR/],
      [['webhook', '--url-env', 'NOTHING'], /the variable NOTHING is empty or not set/],
      [['webhook', '--url-file', join(here.home, 'none')], /--url-file: [\s\S]*fix: ls -l/],
      [['webhook'], /webhook needs an address\nfix: .*notify add webhook https:/],
      [['pager'], /nobody can be told by "pager"\nfix: one of log, webhook/],
      [['log', '--name', 'No Name'], /is no name for one that is told/],
      [['webhook', 'http://a', '--url-env', 'PATH'], /the address is given twice/],
    ];
    for (const [args, said] of cases) {
      const { code, stderr } = await run(['notify', 'add', ...args]);
      expect([args, code, stderr]).toEqual([args, 2, expect.stringMatching(said)]);
      expect(stderr).not.toContain('t0ken');
    }
    expect(here.agent.asked).toEqual([]);
    expect((await run(['notify', 'remov', 'phone'])).stderr).toContain('did you mean notify remove?');
  });

  it('list, test and remove; test ends with 1 where one could not be told', async () => {
    expect((await run(['notify', 'list'])).stdout).toBe('\n');
    here.agent.told = {
      rows: [
        { ...row, failing: null, heard: 0 },
        { ...row, name: 'mail', failing: { since: 0, because: 'it answered 404' }, heard: null },
      ],
      quiet: null,
    };
    const { stdout } = await run(['notify', 'list', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      rows: [
        { name: 'phone', failing: null, heard: '1970-01-01T00:00:00.000Z' },
        { failing: { since: '1970-01-01T00:00:00.000Z' }, heard: null },
      ],
      quiet: null,
    });
    const all = await run(['notify', 'test']);
    expect([all.code, all.stdout]).toEqual([
      1,
      expect.stringContaining('mail\twebhook\thttps://home.lan/…\tit answered 404'),
    ]);
    expect((await run(['notify', 'test', 'phone'])).code).toBe(0);
    expect((await run(['notify', 'remove', 'phone'])).stdout).toBe('phone is told nothing\n');
    expect(here.agent.asked).toEqual([{ noticeTest: null }, { noticeTest: 'phone' }, { noticeRemove: 'phone' }]);
  });

  it('quiet: shown, set in the zone of this machine, ended', async () => {
    expect((await run(['notify', 'quiet'])).stdout).toBe('there are no quiet hours\n');
    await run(['notify', 'quiet', '22:00-07:00', '--all'], { TZ: 'Europe/Paris' });
    await run(['notify', 'quiet', 'off']);
    expect(here.agent.asked).toEqual([
      { kind: 'quiet-hours', quiet: { from: 1320, to: 420, zone: 'Europe/Paris', all: true } },
      { kind: 'quiet-hours', quiet: null },
    ]);
    const wrong = await run(['notify', 'quiet', '25-7']);
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      expect.stringMatching(/fix: off, or as in: .*notify quiet 22:00-07:00/),
    ]);
    const all = await run(['notify', 'quiet', 'off', '--all']);
    expect([all.code, all.stderr]).toEqual([2, expect.stringMatching(/--all goes with the hours/)]);
    expect(here.agent.asked).toHaveLength(2);
  });
});
