import { createHash, createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FileTargets } from '../../node/notices/file-targets.ts';
import { toldAsAnother } from '../../node/notices/same-targets.ts';
import { type FileTarget, notifyTargets } from '../../node/settings/notify-file.ts';
import { readSettingsFile } from '../../node/settings/settings-file.ts';
import type { Change } from '../../protocol/changes.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-notify-file-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const read = (lines: string[]) => {
  const file = join(dir, 'autogit.yml');
  writeFileSync(file, `version: "1.0"\nhealth:\n  notify:\n${lines.join('\n')}\n`);
  return readSettingsFile(file, true, 'kang');
};

describe('health.notify of autogit.yml', () => {
  it('names whom the mesh tells: by its address, or by the variable that holds it', () => {
    const { notes } = read([
      ...['    - type: log', '    - type: webhook', '      url: https://home.lan/notices'],
      ...[
        '    - type: slack',
        '      url_env: SLACK',
        '    - type: ntfy',
        '      url: http://ntfy.lan/mesh',
        '      secret_env: TOKEN',
      ],
      ...['    - type: pager', '      url: http://pager.lan'],
    ]);
    expect(notifyTargets(notes, { SLACK: ' https://hooks.slack.com/services/x\n' })).toEqual([
      { kind: 'webhook', url: 'https://home.lan/notices', secret: null, missing: null },
      { kind: 'slack', url: 'https://hooks.slack.com/services/x', secret: null, missing: null },
      { kind: 'ntfy', url: 'http://ntfy.lan/mesh', secret: null, missing: 'TOKEN' },
    ]);
    const fates = Object.fromEntries(notes.map(({ key, fate }) => [key.slice(7), fate]));
    expect(fates['notify[1].url']).toBe('obeyed');
    expect(fates['notify[2].url_env']).toBe('obeyed');
    expect([fates['notify[4].type'], fates['notify[4].url']]).toEqual(['not yet', 'not yet']);
  });

  it('mail and Home Assistant too: to whom, and the password by a variable', () => {
    const { notes } = read([
      ...['    - type: mail', '      url: smtps://user@mail.lan', '      to: me@home.lan', '      from: mesh@home.lan'],
      ...['      secret_env: PASS', '    - type: homeassistant', '      url: mqtt://user@broker.lan'],
    ]);
    expect(notifyTargets(notes, { PASS: 'hunter2' })).toEqual([
      {
        ...{ kind: 'mail', url: 'smtps://user@mail.lan', secret: 'hunter2', missing: null },
        ...{ to: 'me@home.lan', from: 'mesh@home.lan' },
      },
      { kind: 'homeassistant', url: 'mqtt://user@broker.lan', secret: null, missing: null },
    ]);
    expect(new Set(notes.filter(({ topic }) => topic === 'notify').map(({ fate }) => fate))).toEqual(
      new Set(['obeyed']),
    );
    expect(() => read(['    - type: mail', '      url: smtp://mail.lan', '      to: everybody'])).toThrow(
      /no address of mail/,
    );
    expect(() => read(['    - type: webhook', '      url: ftp://home.lan'])).toThrow(/somebody to tell/);
  });

  it('a token where the name of a variable belongs is refused, and not repeated', () => {
    expect(() => read(['    - type: ntfy', '      url_env: glpat-0123456789'])).toThrow(/looks like a token/);
  });
});

describe('what a file has the mesh tell', () => {
  const founded = foundedMesh();
  const file = { kind: 'webhook', url: 'https://home.lan/hook/t0ken', secret: null, missing: null };
  let ledger: Ledger = founded;
  const logged: string[] = [];
  /** `votes`: it can read what others have sealed. */
  const of = (self: string, files: FileTarget[], votes = true) =>
    new FileTargets({
      ...{ self, files },
      unseal: (sealed) => (votes ? Buffer.from(sealed, 'base64').toString() : null),
      mark: (text) => createHmac('sha256', `key of ${self}`).update(text).digest('hex'),
      ledger: () => ledger,
      change: async (change: Change) => {
        const after = applyChange(ledger, change, 1);
        if ('refused' in after) return { state: 'refused', because: String(after.refused) };
        ledger = Ledger.parse(JSON.parse(JSON.stringify(after)));
        return { state: 'done', because: 'it is told' };
      },
      sealForVoters: (text) => Buffer.from(text).toString('base64'),
      log: { info: (text) => void logged.push(text), warn: (text) => void logged.push(text) },
    });

  it('is in the ledger once, whichever files say it; and goes with the file that had said it, not with another', async () => {
    ledger = { ...founded, nodes: { K: { ...founded.nodes.K!, can: [...abilities] } } };
    await of('K', [file]).look();
    await of('D', [file]).look();
    const [name, ...more] = Object.keys(ledger.notices?.targets ?? {});
    expect([name, more]).toEqual([expect.stringMatching(/^file-[0-9a-f]{10}$/), []]);
    expect(ledger.notices?.targets[name!]).toMatchObject({
      file: 'K',
      shown: 'https://home.lan/…',
      because: 'autogit.yml of kang',
    });
    await of('D', []).look();
    expect(Object.keys(ledger.notices?.targets ?? {})).toEqual([name]);
    await of('K', []).look();
    expect(ledger.notices).toBeUndefined();
    // The other one still has it.
    await of('D', [file]).look();
    expect(Object.values(ledger.notices?.targets ?? {}).map((one) => one.file)).toEqual(['D']);
    expect(logged.join('\n')).not.toContain('t0ken');
  });

  describe('by a name that tells nothing of its secret', () => {
    const pass = { ...file, url: 'http://ntfy.lan/mesh', kind: 'ntfy', secret: 'hunter2' };
    /** As earlier versions called it, on every machine. */
    const formerName = `file-${createHash('sha256')
      .update(JSON.stringify([founded.mesh.id, pass.kind, pass.url, pass.secret]))
      .digest('hex')
      .slice(0, 10)}`;
    const names = (): string[] => Object.keys(ledger.notices?.targets ?? {});
    const begin = (): void => {
      ledger = { ...founded, nodes: { K: { ...founded.nodes.K!, can: [...abilities] } } };
    };
    /** As a machine of an earlier version has it in the ledger. */
    const former = (self: string): void => {
      const way = { url: pass.url, secret: pass.secret };
      const target = { kind: 'ntfy', shown: 'http://ntfy.lan/…', secret: btoa(JSON.stringify(way)) };
      const change: Change = { kind: 'notice-target', name: formerName, target, file: self, because: 'before' };
      ledger = applyChange(ledger, change, 1) as Ledger;
    };

    it('each machine makes its own, and nobody else could make it of the address and the secret', async () => {
      const made = [];
      for (const self of ['K', 'D']) {
        begin();
        await of(self, [pass]).look();
        await of(self, [pass]).look();
        made.push(names());
      }
      expect(made).toEqual([[expect.stringMatching(/^file-/)], [expect.stringMatching(/^file-/)]]);
      expect(new Set([...made.flat(), formerName]).size).toBe(3);
    });

    it('one that is told already keeps the name of before, and goes with its own file', async () => {
      begin();
      former('K');
      await of('D', [pass]).look();
      await of('K', [pass]).look();
      expect(names()).toEqual([formerName]);
      await of('K', []).look();
      expect(names()).toEqual([]);
    });

    it('beside a machine of an earlier version both agree on its name, whichever says it first, and whether it votes', async () => {
      for (const votes of [true, false]) {
        begin();
        await of('D', [pass], votes).look();
        expect(names()).not.toContain(formerName);
        former('K');
        expect(names()).toHaveLength(2);
        await of('D', [pass], votes).look();
        await of('D', [pass], votes).look();
        expect(names()).toEqual([formerName]);
      }
    });

    it('of two that said it in the same moment one stays, for good', async () => {
      begin();
      await of('K', [pass]).look();
      const alone = ledger;
      begin();
      await of('D', [pass]).look();
      const targets = { ...alone.notices!.targets, ...ledger.notices!.targets };
      ledger = { ...ledger, notices: { ...ledger.notices, targets } };
      for (let looks = 0; looks < 3; looks++) for (const self of ['K', 'D']) await of(self, [pass]).look();
      expect(names()).toHaveLength(1);
    });

    it('who does not vote says it beside another one, and takes back his own only', async () => {
      begin();
      await of('K', [pass]).look();
      await of('D', [pass], false).look();
      expect(toldAsAnother(ledger.notices!.targets, (sealed) => atob(sealed)).size).toBe(1);
      expect(toldAsAnother(ledger.notices!.targets, () => null).size).toBe(0);
      for (let looks = 0; looks < 3; looks++) await of('D', [pass], false).look();
      expect(names()).toHaveLength(2);
      await of('D', [], false).look();
      expect(Object.values(ledger.notices!.targets).map(({ file: whose }) => whose)).toEqual(['K']);
    });
  });

  it('one of whom too little is said keeps back no other, and a password is in nothing that others see', async () => {
    ledger = { ...founded, nodes: { K: { ...founded.nodes.K!, can: [...abilities] } } };
    logged.length = 0;
    const mail = { ...file, kind: 'mail', url: 'smtps://user@mail.lan', secret: 'hunter2' };
    await of('K', [mail, { ...mail, to: 'me@home.lan' }]).look();
    expect(Object.values(ledger.notices?.targets ?? {}).map(({ shown }) => shown)).toEqual([
      'smtps://mail.lan to me@home.lan',
    ]);
    expect(logged).toEqual([
      'health.notify of autogit.yml: mail needs somebody to write to',
      expect.stringContaining('as autogit.yml has it'),
    ]);
    const [name, target] = Object.entries(ledger.notices?.targets ?? {})[0]!;
    expect(`${name} ${JSON.stringify({ ...target, secret: '' })} ${logged.join()}`).not.toContain('hunter2');
    // Another password is another one to tell, and the one of before goes.
    await of('K', [{ ...mail, to: 'me@home.lan', secret: 'hunter3' }]).look();
    expect(Object.keys(ledger.notices?.targets ?? {})).not.toContain(name);
    expect(Object.keys(ledger.notices?.targets ?? {})).toHaveLength(1);
  });

  it('is not taken back where a variable is not set any more: the file still says it', async () => {
    ledger = { ...founded, nodes: { K: { ...founded.nodes.K!, can: [...abilities] } } };
    await of('K', [file]).look();
    await of('K', [{ ...file, url: '', missing: 'HOOK' }]).look();
    expect(Object.values(ledger.notices?.targets ?? {}).map(({ shown }) => shown)).toEqual(['https://home.lan/…']);
  });

  it('what it cannot do is said once: a variable that is not set, a voter of an earlier version', async () => {
    logged.length = 0;
    ledger = { ...founded, nodes: { K: { ...founded.nodes.K!, can: [] } } };
    const old = of('K', [file]);
    await old.look();
    await old.look();
    const unset = of('K', [{ ...file, missing: 'HOOK' }]);
    await unset.look();
    expect(logged).toEqual([
      expect.stringContaining('runs an earlier version'),
      'health.notify of autogit.yml: the variable HOOK of webhook is empty or not set where this agent runs',
    ]);
  });
});
