import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
// The parser that vitest itself reads these files with.
import { parseAst } from 'vite';
import { describe, expect, it } from 'vitest';
import { commands } from '../../node/cli/command-table.ts';
import { buildProgram } from '../../node/cli/program.ts';

/**
 * Everything that is shown behind `fix:` or `->`, from the source itself: hints of errors, fixes of findings and of
 * attention lines. Each is a command, whole, so that it can be pasted, or words; where a command helps them it stands
 * last, behind ": ". What stands in a template for a value of its own is X here.
 */
interface Node {
  type: string;
  [key: string]: unknown;
}
interface Fix {
  file: string;
  text: string;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const isNode = (value: unknown): value is Node => typeof (value as Node | null)?.type === 'string';
const nameOf = (node: unknown): string => {
  const { name, value } = (node ?? {}) as { name?: string; value?: unknown };
  return name ?? (typeof value === 'string' ? value : '');
};

/** Every text that an expression can be, as far as it is written down here. */
function textsOf(node: unknown): string[] {
  if (!isNode(node)) return [];
  if (node.type === 'Literal') return typeof node.value === 'string' ? [node.value] : [];
  if (node.type === 'ConditionalExpression') return [...textsOf(node.consequent), ...textsOf(node.alternate)];
  if (node.type === 'LogicalExpression') return [...textsOf(node.left), ...textsOf(node.right)];
  if (node.type === 'TemplateLiteral') {
    const parts = (node.quasis as { value: { cooked: string } }[]).map(({ value }) => value.cooked);
    const values = (node.expressions as Node[]).map((one) => {
      const known = textsOf(one);
      return known.length > 0 ? known : ['X'];
    });
    return parts
      .slice(1)
      .reduce<string[]>(
        (all, part, index) => all.flatMap((head) => (values[index] as string[]).map((value) => head + value + part)),
        [parts[0] as string],
      );
  }
  return [];
}

const named = /^(hint|fix|help|install|toolkitFix)$/;
/** Which argument of a call is a fix. */
const argumentOf: Record<string, number> = { finding: 3, placeProblem: 1, line: 2, attentionLine: 1 };

function fixesIn(file: string): Fix[] {
  const found: Fix[] = [];
  const add = (node: unknown): void => {
    found.push(...textsOf(node).map((text) => ({ file, text })));
  };
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) return value.forEach(visit);
    if (!isNode(value)) return;
    if (value.type === 'Property' && /^(hint|fix)$/.test(nameOf(value.key))) add(value.value);
    if (value.type === 'VariableDeclarator' && named.test(nameOf(value.id))) add(value.init);
    if (value.type === 'AssignmentPattern' && named.test(nameOf(value.left))) add(value.right);
    if (value.type === 'CallExpression') {
      const at = argumentOf[nameOf(value.callee)];
      if (at !== undefined) add((value.arguments as Node[])[at]);
    }
    for (const key of Object.keys(value)) if (key !== 'type') visit(value[key]);
  };
  visit(parseAst(readFileSync(`${root}/${file}`, 'utf8'), { lang: 'ts' }));
  return found;
}

const floors = ['protocol', 'scheduler', 'gitlab-bridge', 'node'].map((floor) => `${floor}/*.ts`);
const fixes = execFileSync('git', ['ls-files', '-co', '--exclude-standard', ...floors], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '')
  .flatMap(fixesIn)
  .filter(({ text }) => text !== '' && text !== 'X');

const program =
  /^(autogit-node|sudo|systemctl|docker|kill|dmesg|mv|chmod|ip|apt-get|useradd|top|grep|fuser|timedatectl|nvidia-smi|getent|curl|df|ls|export|mount|cp) /;

/** The command in a fix: all of it, or what stands behind its last ": ". */
function commandIn(text: string): string | null {
  if (program.test(`${text} `)) return text;
  const tail = text.slice(text.lastIndexOf(': ') + 2);
  return text.includes(': ') && program.test(`${tail} `) ? tail : null;
}

/** Does the command line of this program take it? */
function isOurs(command: string): boolean {
  // Whole flags and words that a template puts together.
  const words = command
    .replace(/ --X X|(?<=\w)X(?= )|X(?=--)/g, '')
    .split(' ')
    .slice(1);
  if (words[0] === 'help') return true;
  if (words.at(-1) === '--help') {
    const path = words.slice(0, -1).join(' ').replace(/ ?X ?/, '');
    return path === '' || commands.some((one) => one.path.startsWith(path));
  }
  let taken = false;
  try {
    buildProgram(() => {
      taken = true;
    }).parse(words, { from: 'user' });
  } catch {
    return false;
  }
  return taken;
}

function wrongWith({ text }: Fix): string | null {
  if (/\s\([^()]*\)$/.test(text)) return 'ends in brackets';
  const command = commandIn(text);
  const words = command === null ? text : text.slice(0, text.length - command.length);
  if (/autogit-node \w|docker pull|apt-get |systemctl /.test(words)) return 'has a command in its words';
  if (command === null) return null;
  if (/, | or | then |\(|…$/.test(command.replace(/'[^']*'|"[^"]*"/g, '').replace(/=…$/, '')))
    return 'goes on in words behind the command';
  try {
    execFileSync('bash', ['-n', '-c', command], { stdio: 'ignore' });
  } catch {
    return 'is no command of a shell';
  }
  for (const part of command.split(/ && | \| |; /).filter((one) => one.startsWith('autogit-node')))
    if (!isOurs(part)) return `is no command of ours: ${part}`;
  return null;
}

describe('what is printed behind `fix:`', () => {
  it('is found in the source', () => {
    // Hints of the table, of findings, of attention lines, with a template, of a default and of a branch.
    for (const text of [
      'autogit-node --help',
      'sudo apt-get install git',
      'on X: autogit-node resume',
      'autogit-node why X',
      'top -p X',
      'sudo timedatectl set-ntp true',
      'the command and the agent may be of different versions',
    ])
      expect(fixes.map((fix) => fix.text)).toContain(text);
    expect(fixes.length).toBeGreaterThan(120);
  });

  it.each([
    ['autogit-node doctor   (there)', 'ends in brackets'],
    ['curl -fsSL https://get.docker.com | sh   (or --executor process)', 'ends in brackets'],
    ['see autogit-node status', 'has a command in its words'],
    ['autogit-node status shows the mesh', 'is no command of ours: autogit-node status shows the mesh'],
    ['look: autogit-node leave, then join again', 'goes on in words behind the command'],
    ['look: autogit-node nothing', 'is no command of ours: autogit-node nothing'],
  ])('the rule finds %s', (text, wrong) => expect(wrongWith({ file: '', text })).toBe(wrong));

  it('can be pasted where it is a command, and read where it is not', () => {
    const wrong = fixes.map((fix) => [fix, wrongWith(fix)] as const).filter(([, what]) => what !== null);
    expect(wrong.map(([{ file, text }, what]) => `${file}: "${text}" ${what}`)).toEqual([]);
  });
});
