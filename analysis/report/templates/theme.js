// Before the first paint: that scripts run, and the theme that was last chosen.
document.documentElement.classList.add("js");
try {
  const chosen = localStorage.getItem("gfl-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing for files.
}
