/** What the first words of commands are for, in the order of `--help`; each stands in one. A new one belongs here: a test looks. */
export const topics: Readonly<Record<string, readonly string[]>> = {
  'A machine and its mesh:': ['join', 'leave', 'invite', 'approve', 'ignore', 'forget', 'drain', 'undrain', 'settings'],
  'What goes on:': ['status', 'top', 'events', 'dashboard', 'audit', 'metrics'],
  'Jobs:': ['jobs', 'why', 'logs', 'cancel', 'retry', 'cache'],
  'The owner of a machine:': ['pause', 'resume'],
  'GitLab:': ['gitlab', 'webhook', 'reconcile'],
  'When something is wrong:': ['doctor', 'runbook', 'notify', 'support', 'rehearse', 'recover', 'fallback'],
  'To try it out:': ['demo', 'practice-gitlab'],
  'The program:': ['service', 'config', 'paths', 'id', 'completion', 'version', 'help'],
};

/** Its place in `--help`: topics in their order, words in theirs. */
export const topicOf = (word: string): string | undefined =>
  Object.keys(topics).find((topic) => topics[topic]?.includes(word));
