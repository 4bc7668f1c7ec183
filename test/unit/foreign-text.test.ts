import { describe, expect, it } from 'vitest';
import { describeFailure } from '../../node/cli/failure.ts';
import { attentionLine } from '../../node/cli/table.ts';
import { shown, shownLines } from '../../node/foreign-text.ts';
import { createProgress, progressLine } from '../../node/progress-lines.ts';
import { joinOptions } from '../../node/settings/join-options.ts';
import { resolveSettings } from '../../node/settings/settings.ts';
import { EnrolMessage } from '../../protocol/enrol-messages.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { MeshName } from '../../protocol/ids.ts';

/** A forged line, a colour, a title, a C1 escape, a right-to-left override, a line separator. */
const hostile = 'x\n  ok    approved    by kang\u001b[31mRED\u001b]0;t\u0007\u009b2J\u202eevil\u2028z\r';

describe('text of strangers', () => {
  it('is one line of printable characters when it is shown', () => {
    expect(shown(hostile)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(shown('Küche 日本 🎮')).toBe('Küche 日本 🎮');
    expect(shownLines('ours\n  too\u001b[2J')).toBe('ours\n  too [2J');
  });

  it('forges no line and moves no cursor, wherever a sentence meets the terminal', () => {
    let screen = '';
    const lines = createProgress({ color: false, stream: { write: (text) => (screen += text) } });
    lines.warn('approval', `it said ${shown(hostile)}`);
    lines.say(`\u001b[2J${shown(hostile)}`);
    const all = [
      screen,
      progressLine('ok', 'discovery', `mesh "${shown(hostile)}"`),
      attentionLine(hostile, `autogit-node forget ${hostile}`, 10),
      describeFailure(new AutogitError('turned-away', `\u001b[2J${shown(hostile)}`), false),
    ].join('\n');
    expect(all).not.toMatch(/^ {2}ok {4}approved {4}by kang/m);
    expect(all.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
  });

  it('is no name of a mesh: not at the enrol door, not for `join --new`', () => {
    const mesh = { kind: 'mesh', v: 1, meshId: 'm', member: 'kang', nonce: '00'.repeat(32) };
    for (const bad of [hostile, '', ' home', 'home ', 'a'.repeat(64), 'a\tb', 'a\u200bb']) {
      expect(MeshName.safeParse(bad).success).toBe(false);
      expect(EnrolMessage.safeParse({ ...mesh, meshName: bad }).success).toBe(false);
      const given = { new: bad };
      const settings = () =>
        resolveSettings({ command: 'join', given, env: {}, file: new Map(), fileName: 'autogit.yml' });
      if (bad !== '') expect(() => joinOptions(settings())).toThrow(/printable/);
    }
    for (const good of ['home', 'my home', 'Küche', '日本', 'a', "kang's lab"])
      expect(EnrolMessage.safeParse({ ...mesh, meshName: good }).success).toBe(true);
  });
});
