import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import setUpBundle from '../e2e/bundle.ts';
import { SmallAgent } from './small-agent.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What `recover --force` asks a person before it asks the agent: the published command, on a terminal of `script`. */
describe('recover --force', () => {
  const bin = join(root, 'dist', 'autogit-node.cjs');
  const agent = new SmallAgent();
  let home: string;
  let server: SocketServer;

  beforeAll(async () => {
    setUpBundle();
    home = mkdtempSync(join(tmpdir(), 'autogit-recover-'));
    const log = { warn: () => {}, error: () => {} };
    server = await serveSocket({ path: places(home).socket, api: agent, log });
  });
  afterAll(async () => {
    await server.close();
    rmSync(home, { recursive: true, force: true });
  });

  /** `typed` lines on a terminal; null: without one. */
  function recover(typed: string[] | null, ...args: string[]): Promise<{ code: number | null; said: string }> {
    const command = [process.execPath, bin, '--home', home, 'recover', ...args];
    const [file, all] =
      typed === null
        ? [command[0] as string, command.slice(1)]
        : ['script', ['-qec', command.map((word) => `'${word}'`).join(' '), '/dev/null']];
    const env = { PATH: process.env.PATH ?? '', HOME: home, TERM: 'dumb' };
    return new Promise((resolve) => {
      const child = spawn(file, all, { env, stdio: [typed === null ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
      const answers = [...(typed ?? [])];
      let said = '';
      const hear = (data: Buffer): void => {
        said += data;
        if (/(type its name:|\[y\/N\]) $/.test(said) && answers.length > 0) child.stdin?.write(`${answers.shift()}\n`);
      };
      child.stdout?.on('data', hear);
      child.stderr?.on('data', hear);
      child.once('close', (code) => resolve({ code, said }));
    });
  }

  it('warns, has each machine typed by name, and then does it', async () => {
    agent.asked = [];
    const { code, said } = await recover(['kang', 'desktop-1'], '--force');
    expect(said).toContain('merely unplugged goes on by itself: then there are two meshes, and what one');
    expect(said).toContain('that you have seen desktop-1 switched off');
    expect(said).toContain('alone now');
    expect(code).toBe(0);
    expect(agent.asked).toEqual([{ recover: ['kang', 'desktop-1'] }]);
  });

  it('says what is known of a hosted GitLab, and starts it here by another answer alone, where its host is silent', async () => {
    const row = { node: 'kang', round: '4.30', ageMs: 10_800_000, inSync: false, state: 'away' as const };
    const copy = { ...row, because: 'its host is away', percent: null, chosen: 'named' };
    const hosted = { data: 'k3v9q2m4', image: 'i', preset: 'p', folder: '/srv', because: 'away', progress: null };
    const listens = createServer().listen(0, '127.0.0.2');
    await once(listens, 'listening');
    const { port } = listens.address() as AddressInfo;
    const url = `http://127.0.0.2:${port}`;
    agent.gitlab = { mode: 'hosted', state: 'failed', host: 'desktop-1', url, epoch: 4, hosted, standbys: [copy] };
    const starts = () => agent.asked.filter((one) => Object.hasOwn(one as object, 'kind'));
    agent.asked = [];
    const on = await recover(['kang', 'desktop-1', 'y'], '--force');
    expect(on.said).toMatch(/GitLab runs on desktop-1[\s\S]*copy of it here is 3 h old/);
    expect(on.said).toMatch(new RegExp(`127.0.0.2:${port}\\s+answers: desktop-1 may be on`));
    expect([on.code, starts()]).toEqual([0, []]);
    listens.close();
    await once(listens, 'close');
    const no = await recover(['kang', 'desktop-1', ''], '--force');
    expect(no.said).toMatch(/Nothing\s+answers\s+at\s+127.0.0.2/);
    expect([no.code, starts()]).toEqual([0, []]);
    const flags = ['--force', '--off', 'kang', '--off', 'desktop-1', '--yes'];
    expect((await recover(null, ...flags)).said).toContain('gitlab take-over kang');
    expect(starts()).toEqual([]);
    const yes = await recover(['kang', 'desktop-1', 'y'], '--force');
    expect([yes.code, yes.said]).toEqual([0, expect.stringContaining('GitLab goes on here')]);
    expect(starts()).toMatchObject([{ kind: 'start-gitlab-at', data: 'k3v9q2m4', epoch: 4, to: 'kang' }]);
    // As JSON it is one value, at a terminal too: whether GitLab was started is in it.
    const asJson = async (typed: string[] | null, ...args: string[]) => {
      const { code, said } = await recover(typed, '--force', '--json', ...args);
      return { code, ...JSON.parse(said.slice(said.indexOf('{'))) };
    };
    const done = { code: 0, state: 'done', because: 'alone now' };
    const waits = expect.stringContaining('autogit-node gitlab take-over kang');
    expect(await asJson(['kang', 'desktop-1', 'y'])).toEqual({
      ...done,
      gitlab: { isStarted: true, because: expect.stringContaining('goes on here') },
    });
    expect(await asJson(['kang', 'desktop-1', ''])).toEqual({ ...done, gitlab: { isStarted: false, because: waits } });
    expect(await asJson(null, ...flags.slice(1))).toEqual({ ...done, gitlab: { isStarted: false, because: waits } });
    agent.gitlab = {};
  });

  it('does nothing when another name is typed, without --force, or when the agent refuses', async () => {
    agent.asked = [];
    const other = await recover(['kang', 'yes'], '--force');
    expect([other.code, other.said]).toEqual([2, expect.stringContaining('"yes" is not desktop-1: nothing was done')]);
    const plain = await recover(['kang'], '--off', 'kang');
    expect([plain.code, plain.said]).toEqual([2, expect.stringContaining('recover --force')]);
    agent.mayNotRecover = 'kang leads: there is nothing to recover';
    const refused = await recover([], '--force');
    expect([refused.code, refused.said]).toEqual([1, expect.stringContaining('error: kang leads')]);
    agent.mayNotRecover = null;
    expect(agent.asked).toEqual([]);
  });

  it('without a terminal wants every name by flag, and --yes', async () => {
    agent.asked = [];
    for (const flags of [[], ['--yes'], ['--off', 'kang', '--yes'], ['--off', 'kang', '--off', 'desktop-1']]) {
      const { code, said } = await recover(null, '--force', ...flags);
      expect([code, said]).toEqual([2, expect.stringMatching(/recover --force( --off (kang|desktop-1)){2} --yes/)]);
    }
    expect(agent.asked).toEqual([]);
    const done = await recover(null, '--force', '--off', 'kang', '--off', 'desktop-1', '--yes', '--json');
    expect(done.code).toBe(0);
    expect(agent.asked).toEqual([{ recover: ['kang', 'desktop-1'] }]);
  });
});
