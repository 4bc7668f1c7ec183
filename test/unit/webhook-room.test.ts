import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { WebhookRoom } from '../../node/webhook/webhook-room.ts';
import { testCertificate } from '../hosting/test-certificate.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-webhook-room-'));
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

it('says that a renewed certificate is not served until one is, not only at its first look', async () => {
  const tlsFile = join(folder, 'door.pem');
  let written = Date.now() / 1000 - 3600;
  const write = (text: string): void => {
    writeFileSync(tlsFile, text, { mode: 0o600 });
    written += 60;
    utimesSync(tlsFile, written, written);
  };
  const { certificate, key } = testCertificate(['kang']);
  write(certificate + key);
  const infos: string[] = [];
  const warnings: string[] = [];
  const room = new WebhookRoom({
    self: 'K',
    settings: { host: '127.0.0.1', port: 0, url: null, tlsFile, allow: [] },
    ledger: () => null,
    unseal: () => null,
    leads: () => false,
    addresses: () => [],
    hint: () => {},
    wallMs: () => Date.now(),
    store: { get: async () => null, put: async () => {} },
    log: { info: (sentence: string) => infos.push(sentence), warn: (sentence: string) => warnings.push(sentence) },
  } as unknown as ConstructorParameters<typeof WebhookRoom>[0]);
  room.start();
  try {
    await vi.waitFor(() => expect(infos.join()).toContain('are heard at'));
    write('no certificate');
    for (let look = 0; look < 3; look++) {
      await vi.advanceTimersByTimeAsync(30_000);
      expect(room.problem?.sentence).toContain('the new certificate is not served');
    }
    expect(warnings).toHaveLength(1);
    write(certificate + key);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(room.problem).toBeNull();
    expect(infos.at(-1)).toBe('webhooks: the new certificate is served');
  } finally {
    await room.stop();
  }
});
