/**
 * What curl prints for that file of options (gitlab-inside.ts), by an answer to each of its questions: a status of 0 is none, behind
 * which none is asked. `question` is its lines.
 */
export function playedCurl(
  config: string,
  answer: (question: string) => { status: number; body?: string },
): { code: number; out: string } {
  let out = '';
  for (const question of config.split('\nnext\n')) {
    const { status, body = '' } = answer(question);
    const [, before = ''] = /^write-out = "(.*)%\{http_code\}"$/m.exec(question) ?? [];
    if (!/^output = /m.test(question)) out += body;
    out += `${before.replaceAll('\\n', '\n')}${String(status).padStart(3, '0')}`;
    if (status === 0) return { code: 7, out };
  }
  return { code: 0, out };
}
