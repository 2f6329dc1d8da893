// What arithmatex leaves as \(...\) or \[...\]. Displayed ones are set as text is, so that long ones break at their signs.
for (const element of document.querySelectorAll(".arithmatex")) {
  const text = element.textContent.trim();
  const style = text.startsWith("\\[") ? "\\displaystyle " : "";
  katex.render(style + text.slice(2, -2), element, { throwOnError: false });
}
