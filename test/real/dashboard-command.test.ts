import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import setUpBundle from '../e2e/bundle.ts';
import { cleanEnv, failing, runCli } from './cli-child.ts';
import { PageRig } from './page-rig.ts';

/** `dashboard` and what is below it: the published command before a page's door. */
describe('dashboard', () => {
  let rig: PageRig;
  let home: string;
  let server: SocketServer;

  beforeAll(async () => {
    setUpBundle();
    home = mkdtempSync(join(tmpdir(), 'autogit-dashboard-'));
    rig = await new PageRig().open();
    server = await serveSocket({ path: places(home).socket, api: rig.api, log: { warn: () => {}, error: () => {} } });
  });
  beforeEach(async () => {
    for (const { name } of await rig.page.pageKeys()) await rig.page.pageKeyRemove(name);
  });
  afterAll(async () => {
    await server?.close();
    await rig?.close();
    rmSync(home, { recursive: true, force: true });
  });
  const run = (args: string[], more: Record<string, string> = {}) =>
    runCli(['--home', home, ...args], cleanEnv(home, more));

  it('prints a link that opens once, alone in a pipe, and says for how long', async () => {
    const { code, stdout, stderr } = await run(['dashboard', '--role', 'viewer', '--for', '3d']);
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/^good once, for .*; the browser that opens it is viewer for 3 d$/m),
    ]);
    const { origin, pathname, search } = new URL(stdout.trim());
    expect(origin).toBe(`http://127.0.0.1:${rig.port}`);
    expect((await rig.ask(pathname + search)).status).toBe(303);
    expect(await rig.page.pageKeys()).toMatchObject([{ name: 'page-1', kind: 'session', role: 'viewer' }]);
    const far = await run(['dashboard'], { SSH_CONNECTION: '192.168.1.20 5000 192.168.1.5 22' });
    expect(far.stderr).toContain(`ssh -L ${rig.port}:127.0.0.1:${rig.port} 192.168.1.5`);
    expect(far.stderr).toContain('is owner for 7 d');
    expect(JSON.parse((await run(['dashboard', '--json'])).stdout)).toMatchObject({
      role: 'owner',
      forMs: 604_800_000,
    });
  });

  it('a key is made, listed and removed; what stands behind `key` is its own', async () => {
    const made = await run(['dashboard', 'key', '--role', 'operator', '--name', 'home-page']);
    expect([made.code, made.stdout]).toEqual([0, expect.stringMatching(/^agk_[\w-]{43}\n$/)]);
    expect(made.stderr).toMatch(/^home-page, for an operator; it is shown this once/);
    const by = { headers: { authorization: `Bearer ${made.stdout.trim()}` } };
    expect(JSON.parse((await rig.ask('/api/me', by)).text)).toMatchObject({
      role: 'operator',
      name: 'home-page',
      until: null,
    });
    expect(JSON.parse((await run(['dashboard', 'key', '--json'])).stdout)).toMatchObject({
      name: 'key-1',
      role: 'viewer',
    });
    expect((await run(['dashboard', 'keys'])).stdout).toMatch(/^home-page\tkey\toperator\t.*\nkey-1\tkey\tviewer\t/);
    expect((await run(['dashboard', 'key-remove', 'home-page'])).stdout).toBe('home-page is let in no more\n');
    expect((await rig.ask('/api/me', by)).status).toBe(401);
    failing(
      2,
      /no key and no session is called home-page/,
      /dashboard keys/,
    )(await run(['dashboard', 'key-remove', 'home-page']));
    failing(
      1,
      /there is a key or session called key-1/,
      /key-remove key-1/,
    )(await run(['dashboard', 'key', '--name', 'key-1']));
  });

  it('what is no role, time or name is refused with what is', async () => {
    failing(2, /role/, /./)(await run(['dashboard', '--role', 'root']));
    failing(2, /a browser stays in for 1m to 365d, not for 1 s/, /--for 12h/)(await run(['dashboard', '--for', '1s']));
    failing(2, /a key's name is a-z, 0-9 and -/, /./)(await run(['dashboard', 'key', '--name', 'Home Page']));
    failing(2, /unknown option '--for'/, /dashboard key --help/)(await run(['dashboard', 'key', '--for', '1d']));
    failing(2, /unknown command 'dashboard kys'/, /did you mean dashboard keys/)(await run(['dashboard', 'kys']));
  });
});
