/** What the practice GitLab says of itself, everywhere. */
export const practiceVersion = '19.3.0-practice';
export const practiceRevision = 'practice';
export const standInSentence = 'practice GitLab, not GitLab';
