import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AuditFile } from '../../node/history/audit-file.ts';
import { actingAs, whoActs } from '../../node/local-api/acting.ts';
import { AuditEntry } from '../../protocol/audit.ts';
import type { Change } from '../../protocol/changes.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { PeerMessage } from '../../protocol/messages.ts';
import { noMemory } from '../../scheduler/notices/notice-steps.ts';
import { withAudit } from '../../scheduler/raft/who-did-what.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

const ledger = foundedMesh({ store: 's' });
const [kang = ''] = Object.keys(ledger.nodes);
const drain: Change = { kind: 'drain', node: kang, drained: true };
const asked = {
  change: drain,
  by: { who: 'alice' },
  changed: true,
  sentence: 'kang takes no work',
  asker: kang,
  wallMs: 5,
};

describe('who did what travels with the ledger', () => {
  it('by number, with who, where and what came of it; the newest twelve', () => {
    let now = ledger;
    for (let n = 1; n <= 20; n++) now = withAudit(now, { ...asked, wallMs: n });
    expect(now.audit).toHaveLength(limits.audited);
    expect(now.audit?.at(-1)).toEqual({
      ...{ n: 20, at: 20, who: 'alice', on: ledger.nodes[kang]?.name, what: 'drain', sentence: 'kang takes no work' },
    });
    expect(Ledger.parse(now).audit).toEqual(now.audit);
    for (const entry of now.audit ?? []) expect(AuditEntry.safeParse(entry).success).toBe(true);
  });

  it('not what nodes say of themselves, nor what was so before; what is no change says itself what was done', () => {
    const introduce: Change = { kind: 'depart', node: kang };
    expect(withAudit(ledger, { ...asked, change: introduce }).audit).toBeUndefined();
    const told = { kind: 'notices-told', from: 0, memory: noMemory } as const;
    expect(withAudit(ledger, { ...asked, by: undefined, change: told }).audit).toBeUndefined();
    expect(withAudit(ledger, { ...asked, changed: false }).audit).toBeUndefined();
    const act = { what: 'pause', sentence: 'kang is paused' };
    const closing: Change = { kind: 'close-approval', node: kang };
    const { audit } = withAudit(ledger, { ...asked, change: closing, changed: false, by: { who: 'bob', act } });
    expect(audit).toMatchObject([{ who: 'bob', what: 'pause', sentence: 'kang is paused' }]);
  });

  it('a rule is named, and so is what an agent of before says; nothing is too long for the ledger', () => {
    const by = undefined;
    const paired = { kind: 'approve-paired', node: 'x', approval: {} } as unknown as Change;
    expect(withAudit(ledger, { ...asked, by, change: paired }).audit?.[0]?.who).toBe('rule: the pairing window');
    const approve: Change = { kind: 'approve', node: 'x', words: null, because: 'approved by root' };
    expect(withAudit(ledger, { ...asked, by, change: approve }).audit?.[0]?.who).toBe('approved by root');
    expect(withAudit(ledger, { ...asked, by }).audit?.[0]?.who).toBe('an agent that does not say who');
    const long = withAudit(ledger, { ...asked, by: { who: 'w'.repeat(500) }, sentence: 's'.repeat(5_000) });
    expect(Ledger.safeParse(long).success).toBe(true);
  });

  it('a message says who asked; a leader of before, which does not know that, leaves it out', () => {
    const message = { kind: 'change', id: '1', change: drain, by: { who: 'alice' } };
    expect(PeerMessage.parse(message)).toEqual(message);
    const { by: _by, ...without } = message;
    expect(PeerMessage.parse(without)).toEqual(without);
  });
});

describe('who acts', () => {
  it('is known in all that is done for it, also of two at once, and of nobody afterwards', async () => {
    const seen: (string | undefined)[] = [];
    const act = async (): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(whoActs());
    };
    await Promise.all([actingAs('alice', act), actingAs('bob', act)]);
    await act();
    expect(seen).toEqual(['alice', 'bob', undefined]);
    await expect(actingAs('carol', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(whoActs()).toBeUndefined();
  });
});

describe('who did what on the disk', () => {
  it('is written down once, also where power went in the first line of a new file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'autogit-audit-'));
    const path = join(folder, 'audit.jsonl');
    const entry = (n: number): AuditEntry => ({ n, at: n, who: 'alice', on: 'kang', what: 'drain', sentence: 's' });
    try {
      new AuditFile(`${path}.1`).append([entry(1), entry(2)]);
      const line = `\n${JSON.stringify(entry(3))}\n`;
      for (let cut = 0; cut < line.length; cut++) {
        writeFileSync(path, line.slice(0, cut));
        const audit = new AuditFile(path);
        audit.append([entry(1), entry(2), entry(3)]);
        expect((await audit.entries()).map(({ n }) => n)).toEqual([1, 2, 3]);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
