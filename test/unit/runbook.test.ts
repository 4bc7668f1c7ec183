import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { runbook as command } from '../../node/cli/runbook-command.ts';
import { doctorEntries } from '../../node/doctor/doctor-command.ts';
import { familiesOf } from '../../node/metrics/exposition.ts';
import { entryIn, linksSpelt, namesIn, nearIn, readRunbook } from '../../node/metrics/runbook.ts';
import { seenOf } from './metrics-lab.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const runbook = readRunbook();

interface Rule {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: { summary: string; description: string; runbook_url: string };
}
const { groups } = parse(read('deploy/prometheus/autogit-node.rules.yml')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(read('deploy/grafana/autogit-node.json')) as {
  panels: { type: string; title: string; description?: string; targets?: { expr: string }[] }[];
};

/** Words of a template that a code is made of. */
const words: Record<string, readonly string[]> = {
  'act-${act.kind}': ['act-forget'],
  'copy-${state}': ['copy-behind', 'copy-away', 'copy-full', 'copy-refused'],
  'gitlab-${now.state}': ['gitlab-degraded', 'gitlab-failed', 'gitlab-repairing'],
};

/** Every code that a line of attention can have, as it stands in the sources that make such lines. */
function codes(): string[] {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'node/**.ts', 'scheduler/**.ts'], {
    cwd: root,
    encoding: 'utf8',
  });
  const found = new Set<string>();
  const makers = files.split('\n').filter((file) => file !== '' && /\bAttention\b/.test(read(file)));
  expect(makers.length).toBeGreaterThan(20);
  for (const file of makers) {
    const source = read(file);
    for (const [, code] of source.matchAll(/\bcode: '([a-z]+(?:-[a-z]+)*)'/g)) found.add(code as string);
    for (const [, template] of source.matchAll(/\b(?:code: |warning\()`([^`]+)`/g)) {
      const made = words[template as string];
      expect(made, `${file}: a code of a form that this test does not know: ${template}`).toBeDefined();
      for (const code of made ?? []) found.add(code);
    }
    for (const [, code] of source.matchAll(/\b(?:warning|line)\(\s*'((?:gitlab|copy|node|owner|gpu|no)-[a-z-]+)'/g))
      found.add(code as string);
    for (const [, chosen] of source.matchAll(/\bcode: (?!')([^,\n`]*\?[^,\n]*)/g))
      for (const [, code] of (chosen as string).matchAll(/'([a-z-]+)'/g)) found.add(code as string);
  }
  // By what its report calls it.
  for (const [, about] of read('scheduler/snapshot-attention.ts').matchAll(/^ {2}\['([a-z-]+)', '/gm))
    found.add(about as string);
  return [...found];
}

describe('the runbook', () => {
  it('finds the codes where they are made', () => {
    const all = codes();
    expect(all.length).toBeGreaterThan(70);
    for (const known of [
      'no-quorum',
      'copy-full',
      'node-gone',
      'docker-away',
      'work-problem',
      'gitlab-flag',
      'act-forget',
      'gitlab-no-copy',
    ])
      expect(all).toContain(known);
  });

  it.each([...codes(), ...rules.map(({ alert }) => alert)])('%s: what it means, what it costs, what to do', (name) => {
    const entry = entryIn(runbook, name) ?? '';
    expect(entry.match(/^\*\*(Means|Costs|Do)\*\*|^\*\*Costs\*\*, \*\*Do\*\*/gm)?.length ?? 0).toBeGreaterThanOrEqual(
      2,
    );
    expect(entry).toMatch(/^### \S+\n\*\*Means\*\*: \S/);
    expect(entry).toMatch(/\*\*Do\*\*: \S/);
  });

  it('has no entry of what is no more', () => {
    const known = new Set([
      ...codes().map((code) => (code.startsWith('act-') ? 'act' : code)),
      ...rules.map(({ alert }) => alert),
    ]);
    expect(namesIn(runbook).filter((name) => !known.has(name))).toEqual([]);
    expect(new Set(namesIn(runbook)).size).toBe(namesIn(runbook).length);
  });

  it('of a name that it has not the nearest are told, never all; and how to list them', async () => {
    expect(nearIn(runbook, 'no-quorm')[0]).toBe('no-quorum');
    expect(nearIn(runbook, 'NoLeader').slice(0, 2)).toEqual(['AutogitNoLeader', 'no-leader']);
    expect(nearIn(runbook, 'backup')).toContain('gitlab-backup');
    for (const name of ['', '...', 'zzzzzz', '__proto__', 'a'.repeat(9_999)]) expect(nearIn(runbook, name)).toEqual([]);
    const said: string[] = [];
    const context = (...args: string[]) =>
      ({ args, out: { data: (text: string) => void said.push(text) } }) as unknown as Parameters<typeof command>[0];
    await expect(command(context('gitlab-backups'))).rejects.toMatchObject({
      hint: expect.stringMatching(
        /^did you mean gitlab-backup(?:, [\w-]+)*(?: or [\w-]+)?\? All names: autogit-node runbook list$/,
      ),
    });
    await expect(command(context('zzzzzz'))).rejects.toMatchObject({ hint: 'all names: autogit-node runbook list' });
    expect(await command(context('list'))).toBe(0);
    expect(said).toEqual([namesIn(runbook).join('\n')]);
    // No link that only a page can follow, in none of them.
    const spelt = namesIn(runbook).map((name) => linksSpelt(entryIn(runbook, name)!));
    expect(spelt.filter((entry) => /\]\(/.test(entry))).toEqual([]);
    expect(linksSpelt('Start it. [More](trouble.md#why-a-job), or [recover](recover.md).')).toBe(
      'Start it. More (docs/trouble.md), or recover (docs/recover.md).',
    );
  });

  it('has what doctor names', () => {
    for (const name of [...Object.values(doctorEntries), 'no-leader', 'not-approved', 'webhook-problem'])
      expect([name, entryIn(runbook, name) !== null]).toEqual([name, true]);
  });

  it('gives one entry, by any spelling of an alert, and none for what it does not know', () => {
    expect(entryIn(runbook, 'autogitnoleader')).toBe(entryIn(runbook, 'AutogitNoLeader'));
    expect(entryIn(runbook, 'act-connect-gitlab')).toMatch(/^### act\n/);
    expect(entryIn(runbook, 'no-leader')).toMatch(/^### no-leader\n\*\*Means\*\*[^#]*$/);
    expect(entryIn('## A\n\n### b\nx\n\n### last\ny\n', 'last')).toBe('### last\ny');
    for (const name of ['', '.*', '__proto__', 'no', 'no-leader\n', 'Alerts'])
      expect(entryIn(runbook, name)).toBeNull();
  });
});

describe('alerts and dashboard', () => {
  const names = new Set(
    familiesOf(seenOf()).flatMap(({ name, type }) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  );
  const unknown = (expr: string): string[] =>
    [...expr.matchAll(/\b(?:autogit|process|nodejs)_[a-z_]+/g)]
      .map(([name]) => name)
      .filter((name) => !names.has(name));

  /** Labels by which it sums or chooses and that none of its metrics has: such a query is right, and draws nothing. */
  const unknownLabels = (expr: string): string[] => {
    const named = new Set(
      [...expr.matchAll(/\bautogit_[a-z_]+/g)].map(([name]) => name.replace(/_(?:bucket|sum|count)$/, '')),
    );
    const has = new Set(['le', 'instance', 'job']);
    for (const family of familiesOf(seenOf()))
      if (named.has(family.name) && family.type !== 'histogram')
        for (const { labels } of family.samples) for (const label of Object.keys(labels)) has.add(label);
    const grouped = [...expr.matchAll(/\b(?:by|on|without|ignoring|group_left|group_right) ?\(([^)]*)\)/g)].flatMap(
      ([, list = '']) => list.split(',').map((one) => one.trim()),
    );
    const chosen = [...expr.matchAll(/\{([^}]*)\}/g)].flatMap(([, list = '']) =>
      [...list.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label),
    );
    return [...grouped, ...chosen].filter((label) => label !== '' && !has.has(label));
  };

  it('finds a label that a metric has not', () => {
    expect(unknownLabels('max by (node, colour) (autogit_machine_up{shape="round"})')).toEqual(['colour', 'shape']);
    expect(unknownLabels('max by (node) (autogit_machine_up)')).toEqual([]);
  });

  it.each(rules.map((rule) => [rule.alert, rule] as const))(
    '%s uses what is scraped, and says what to do',
    (_name, rule) => {
      expect([...unknown(rule.expr), ...unknownLabels(rule.expr)]).toEqual([]);
      expect(['critical', 'warning', 'info']).toContain(rule.labels.severity);
      const { summary, description, runbook_url: url } = rule.annotations;
      expect(summary.length).toBeGreaterThan(10);
      expect(description.length).toBeGreaterThan(20);
      const [, name = ''] = /^http:\/\/127\.0\.0\.1:7118\/runbook\/(.+)$/.exec(url) ?? [];
      if (name !== '{{ $labels.code }}') expect(entryIn(runbook, name)).not.toBeNull();
    },
  );

  it('has the alerts of the seed design by their names', () => {
    const all = rules.map(({ alert }) => alert);
    for (const name of ['ErrorRate', 'QueueBackup', 'SandboxCreationFailures', 'MemorySaturation', 'CpuSaturation'])
      expect(all).toContain(`Autogit${name}`);
    expect(new Set(all).size).toBe(all.length);
  });

  it('every panel draws what is scraped, and says what it is', () => {
    const drawn = dashboard.panels.filter(({ type }) => type !== 'row');
    expect(drawn.length).toBeGreaterThan(25);
    for (const { title, description = '', targets = [] } of drawn) {
      expect([title, targets.flatMap(({ expr }) => [...unknown(expr), ...unknownLabels(expr)])]).toEqual([title, []]);
      expect([title, targets.length > 0, description.endsWith('.')]).toEqual([title, true, true]);
    }
  });
});
