import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import setUpBundle from '../e2e/bundle.ts';
import { SmallAgent } from './small-agent.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What does not fit is said before a person is asked for anything: the published commands before an agent in small. */
describe('commands of GitLab that mean nothing as it is', () => {
  const bin = join(root, 'dist', 'autogit-node.cjs');
  let agent: SmallAgent;
  let home: string;
  let server: SocketServer;

  beforeAll(() => {
    setUpBundle();
    home = mkdtempSync(join(tmpdir(), 'autogit-words-'));
  });
  beforeEach(async () => {
    await server?.close();
    agent = new SmallAgent();
    agent.gitlab = { mode: 'hosted', state: 'healthy', url: 'http://kang.lan:8080', host: 'kang', version: '19.4.1' };
    server = await serveSocket({ path: places(home).socket, api: agent, log: { warn: () => {}, error: () => {} } });
  });
  afterAll(async () => {
    await server?.close();
    rmSync(home, { recursive: true, force: true });
  });

  function run(...args: string[]): Promise<{ code: number | null; stderr: string }> {
    return new Promise((resolve) => {
      const env = { PATH: process.env.PATH ?? '', HOME: home, TOKEN: 'glpat-x' };
      const child = spawn(process.execPath, [bin, '--home', home, ...args], {
        env,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.on('data', (data) => (stderr += data));
      child.once('close', (code) => resolve({ code, stderr }));
    });
  }

  it.each([
    [['gitlab', 'connect', 'http://x'], 1, /runs its GitLab itself, on kang.*\nfix: .*gitlab uninstall\n$/],
    [['gitlab', 'connect', 'http://x', '--token-env', 'TOKEN'], 1, /runs its GitLab itself/],
    [['gitlab', 'disconnect', '--yes'], 1, /runs its GitLab itself, on kang: none is connected/],
    [['gitlab', 'copies', 'remove', 'nobody', '--yes'], 1, /nobody is not one of .*\nfix: .*gitlab copies\n$/],
    [['gitlab', 'backup', '--keep', '3,2,1'], 2, /--keep goes with the place.*\nfix: name it too: .*--to TARGET\n$/],
    [['gitlab', 'backup', '--every', '12h'], 2, /--every goes with the place.*\nfix: name it too: /],
  ] as [string[], number, RegExp][])('%j', async (args, code, words) => {
    const said = await run(...args);
    expect([said.code, said.stderr]).toEqual([code, expect.stringMatching(words)]);
    expect(agent.asked).toEqual([]);
  });

  it('no other password of somebody is asked for where there is no GitLab', async () => {
    agent.gitlab = {};
    const said = await run('gitlab', 'password', 'bob', '--yes');
    expect([said.code, said.stderr]).toEqual([
      1,
      expect.stringMatching(/runs no GitLab itself\nfix: .*gitlab deploy\n$/),
    ]);
    expect(agent.asked).toEqual([]);
  });
});
