import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, it } from 'vitest';

/** Says before and after a call of each kind whether TLS is loaded, and how a server answers that speaks none. */
const program = `
import { createServer } from 'node:net';
import { openCall } from './http-call.ts';
const isLoaded = () => process.moduleLoadList.includes('NativeModule https');
const server = createServer((socket) => socket.end('HTTP/1.1 204 None\\r\\n\\r\\n')).listen(0, '127.0.0.1', async () => {
  const at = '127.0.0.1:' + server.address().port;
  const said = [isLoaded()];
  said.push((await openCall({ method: 'GET', url: 'http://' + at, timeoutMs: 5000 })).status, isLoaded());
  const failure = await openCall({ method: 'GET', url: 'https://' + at, timeoutMs: 5000 }).catch((error) => error);
  said.push(failure.name, failure.sent, failure.cause?.code, isLoaded());
  console.log(JSON.stringify(said));
  process.exit();
});`;

it('an agent whose GitLab is called without TLS, or never, does not load it; a call with it speaks it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-tls-'));
  try {
    const outfile = join(folder, 'call.cjs');
    const resolveDir = fileURLToPath(new URL('../../gitlab-bridge', import.meta.url));
    await build({
      stdin: { contents: program, resolveDir, loader: 'ts' },
      bundle: true,
      platform: 'node',
      format: 'cjs',
      outfile,
      logLevel: 'silent',
    });
    const said = JSON.parse(execFileSync(process.execPath, [outfile], { encoding: 'utf8' })) as unknown[];
    expect(said).toEqual([
      false,
      204,
      false,
      'CallFailure',
      false,
      expect.stringMatching(/^(EPROTO|ERR_SSL_.*)$/),
      true,
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
